"""What other programs wrote: `.npy`, `.pth`, pickles, the originals' layouts. Nothing in these files is ever run."""
