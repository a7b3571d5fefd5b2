"""What `icd run` chooses and says for own photographs without a list. In: a chain's lines, the data set. Out: choices, in words."""

from __future__ import annotations

OTHER_BACKBONE = "mobilenet_v2"  # the smallest that is fine-tuned on a CPU


def backbone_at_hand(lines, data):
    """For own photographs: MobileNetV2 where its weights are here, a chain's own are not, and all its trainings know it."""
    from icd.engine.build import find_trainable
    from icd.weights.registry import pretrained_of

    built = [line for line in lines.values() if "if" not in line or getattr(data, line["if"]) is not None]
    kinds = [find_trainable(line["train"]) for line in built if line.get("train")]
    missing = any(kind.backbone and not _is_there(pretrained_of(kind.backbone)) for kind in kinds)
    known = all(OTHER_BACKBONE in kind.recipes for kind in kinds)
    if not (kinds and missing and known and _is_there(pretrained_of(OTHER_BACKBONE))):
        return None
    print(f"--backbone {OTHER_BACKBONE}: its weights are here, those of {kinds[0].backbone} are not")
    return OTHER_BACKBONE


def _is_there(path) -> bool:
    return path is not None and path.is_file()


def say_own(data) -> None:
    """Say which list and classes follow from the files, since they decide what the numbers in masks mean."""
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(data.classes, 1))
    print(f"{data.images}: {data.listing}")
    print(f"Classes: {numbered}")
