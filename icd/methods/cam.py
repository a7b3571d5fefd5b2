"""CAM: class activation maps of a plain multi-label classifier, the baseline of every method here.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. Needs tags only.
Recipe: that of ICD (Fan et al., CVPR 2020), whose classification branch this is, so that the two can be compared.
Published numbers: none for this recipe (the ICD paper's baseline is not stated in the sources at hand).
"""

from __future__ import annotations

from icd.methods.classification import (
    EMBEDDED,
    MOBILENET_V2,
    ClassifierNetwork,
    ClassifierRecipe,
    FramedMethod,
    TagLoss,
)
from icd.refine.seeds import CAM_RULE
from icd.trainable import leave_biases_undecayed, set_rates


class CAM(FramedMethod):
    """A multi-label classifier whose last map is the CAM."""

    backbone = "vgg16"
    recipes = {
        "voc": ClassifierRecipe(),
        "mobilenet_v2": ClassifierRecipe(**MOBILENET_V2),
        "embedded": ClassifierRecipe(**EMBEDDED),
    }
    score_maps = {"cam": CAM_RULE}

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.network = ClassifierNetwork(backbone, num_classes, recipe.dropout)
        set_rates(self, self.network._children.values(), (self.network.classifier.fc8,))
        leave_biases_undecayed(self)
        self.tag_loss = TagLoss()

    def losses(self, outputs, part, gathered):
        """The tag loss."""
        return {"cam": self.tag_loss(outputs, part["label"])}

    def localize(self, images):
        """The activation maps, raw logits with bias."""
        return {"cam": self(images)}
