"""What the network of a space's largest architecture can share, beyond what each architecture may be."""

from __future__ import annotations

import re
from typing import Any

from archsearch.nets.hrnet import Stage
from archsearch.space import Space

UNSHARED = re.compile(r"/joints|/stages/times|/stages/\d+/branches/times")


def check_shared(space: Space[Any]) -> None:
    """Raises ``ValueError`` naming the hole where one network cannot hold all architectures of the space.

    The number of joints, stages and branches is the same in all of them. A branch that may lose all of its blocks
    uses the first residual block's convolution then, so its stage must be able to have residual blocks.
    """
    options = {hole.path: hole.options for hole in space.holes}
    for path in filter(UNSHARED.fullmatch, options):
        raise ValueError(f"a hole at {path}: one network has one number of joints, of stages and of branches")
    for s, stage in enumerate(getattr(space.largest(), "stages", ())):
        if not isinstance(stage, Stage) or "basic" in stage.kind.split("|"):
            continue
        for b, blocks in enumerate(stage.branches):
            path = f"/stages/{s}/branches/{b}/times"
            if blocks and 0 in options.get(path, ()):
                raise ValueError(
                    f"0 blocks at {path}: such a branch uses the first basic block's convolution, and stage {s} "
                    f"can only be {stage.kind}"
                )
