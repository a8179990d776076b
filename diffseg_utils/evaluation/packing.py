"""Labelled arrays in few bytes: what a file of scores holds."""

import numpy as np
import xarray as xr


def described(array):
    """The axes and labels of an array, as plain JSON."""
    labels = {name: [list(axis.dims), axis.values.tolist()] for name, axis in array.coords.items()}
    return {"dims": array.dims, "coords": labels, "attrs": array.attrs}


def packed(array):
    """The values of an array in few bytes, in the order of _stored.

    Integers are differences from the first rule, member or k: these agree on most pixels.
    """
    order, by = _stored(array.dims)
    values = array.transpose(*order).values
    if values.dtype.kind != "i" or not values.size:
        return values
    if by:
        values = np.concatenate([values[..., :1], values[..., 1:] - values[..., :1]], -1)
    low, high = values.min(), values.max()
    kinds = (np.int8, np.int16, np.int32, np.int64)
    fitting = next(t for t in kinds if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return values.astype(fitting)


def unpacked(values, how):
    """The array whose values `packed` gave and whose labels `described`; integers as int64."""
    order, by = _stored(how["dims"])
    if values.dtype.kind == "i":
        values = values.astype(np.int64)
        if by:
            values[..., 1:] += values[..., :1]
    values = np.ascontiguousarray(values.transpose([order.index(dim) for dim in how["dims"]]))
    coords = {name: tuple(axis) for name, axis in how["coords"].items()}
    return xr.DataArray(values, coords, how["dims"], attrs=how["attrs"])


def _stored(dims):
    """(axes in the order of the file, the axis of differences or None).

    Seeds and rules come last: what hardly differs lies side by side, which compresses best.
    """
    by = next((name for name in ("rule", "member", "k") if name in dims), None)
    last = [name for name in ("seed", by) if name in dims]
    return [name for name in dims if name not in last] + last, by
