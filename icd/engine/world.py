"""Who computes together: the devices of this process and, where there are several, the other processes.

In: one array a device. Out: what the whole batch gives. The loop and the papers see nothing else of it.
"""

from __future__ import annotations

from icd.compat import mx


class World:
    """One process alone.

    Attributes
    ----------
    rank, size : int
        This process's number, from 0, and how many there are.
    """

    rank, size = 0, 1

    def sum(self, arrays: list):
        """The sum of one NDArray a device, on the first one's device."""
        home = arrays[0].context
        return sum(array.as_in_context(home) for array in arrays)

    def concat(self, arrays: list):
        """The rows (axis 0) of one NDArray a device in the order of the batch, on the first one's device."""
        home = arrays[0].context
        return mx.nd.concat(*(array.as_in_context(home) for array in arrays), dim=0)

    def agree(self, flag: bool) -> bool:
        """Whether any process says yes."""
        return flag
