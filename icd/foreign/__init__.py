"""What other programs wrote: `.npy`, `.pth`, pickles, the originals' layouts. Nothing in these files is ever run."""

LAYOUTS = ("npz", "psa", "crf", "irn", "icd")
"""Of score maps, see `icd.foreign.layouts`."""
