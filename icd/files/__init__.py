"""The files between two stages: read, check, write atomically. Works with numpy, Pillow and OpenCV alone.

In: paths. Out: arrays that have been checked. One small file per image and stage, so that every stage can be resumed,
sharded, looked at, or replaced by somebody else's files. One module a kind of file.
"""

from __future__ import annotations

from icd.files.atomic import UMASK, atomic_path, flush, open_atomic, write_atomic, write_json
from icd.files.lists import check_classes, check_id, read_classes, read_lines, read_list
from icd.files.logits import ImageLogits, read_logits, write_logits
from icd.files.masks import (
    contradictions,
    encode_mask,
    mask_path,
    read_class_mask,
    read_mask,
    read_mask_and_palette,
    read_saliency,
    write_mask,
    write_saliency,
)
from icd.files.records import read_json
from icd.files.score_maps import (
    ALIGNMENTS,
    FUSIONS,
    ScoreMaps,
    check_score_maps,
    read_mapped_classes,
    read_score_maps,
    score_maps_path,
    write_score_maps,
)
from icd.files.stacks import LabelStack, checked_label_stack, read_label_stack, write_label_stack
from icd.files.superpixels import (
    combine_superpixel_bytes,
    read_superpixels,
    superpixels_path,
    write_superpixels,
)

__all__ = [
    "ALIGNMENTS",
    "FUSIONS",
    "ImageLogits",
    "LabelStack",
    "ScoreMaps",
    "UMASK",
    "atomic_path",
    "check_classes",
    "check_id",
    "check_score_maps",
    "checked_label_stack",
    "combine_superpixel_bytes",
    "contradictions",
    "encode_mask",
    "flush",
    "mask_path",
    "open_atomic",
    "read_class_mask",
    "read_classes",
    "read_json",
    "read_label_stack",
    "read_lines",
    "read_list",
    "read_logits",
    "read_mapped_classes",
    "read_mask",
    "read_mask_and_palette",
    "read_saliency",
    "read_score_maps",
    "read_superpixels",
    "score_maps_path",
    "superpixels_path",
    "write_atomic",
    "write_json",
    "write_label_stack",
    "write_logits",
    "write_mask",
    "write_saliency",
    "write_score_maps",
    "write_superpixels",
]
