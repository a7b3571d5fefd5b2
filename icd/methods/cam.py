"""CAM: class activation maps of a plain multi-label classifier, the baseline of every method here.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. Needs tags only.
Recipe: that of ICD (Fan et al., CVPR 2020), whose classification branch this is, so that the two can be compared.
Published numbers: none for this recipe (the ICD paper's baseline is not stated in the sources at hand).
"""

from __future__ import annotations

from icd.methods.base import ClassifierRecipe, HybridBlock, Method, TagClassifier, TagLoss, set_multipliers


class Network(HybridBlock):
    """A backbone and a classification branch."""

    def __init__(self, backbone, num_classes, dropout):
        super().__init__(prefix="")
        self.backbone = backbone
        self.classifier = TagClassifier(backbone, num_classes, dropout)

    def hybrid_forward(self, F, images):
        """Map images (N, 3, S, S) to class activation maps (N, C, h, w)."""
        return self.classifier(self.backbone(images))


class CAM(Method):
    """A multi-label classifier whose last map is the CAM."""

    Recipe = ClassifierRecipe
    score_maps = ("cam",)

    def __init__(self, backbone, num_classes, recipe):
        super().__init__(backbone, num_classes, recipe)
        self.network = Network(backbone, num_classes, recipe.dropout)
        set_multipliers(self, (self.network.classifier.fc8,))
        self.tag_loss = TagLoss(prefix="")

    def losses(self, outputs, part):
        """The tag loss."""
        return {"cam": self.tag_loss(outputs, part["label"])}

    def localize(self, images, labels):
        """The activation maps, raw logits with bias."""
        return {"cam": self(images)}
