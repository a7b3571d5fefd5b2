"""From folders of images, tags and superpixels to batches of arrays. Works without MXNet: numpy arrays come
out.

=============  ============================================================================================
`images`       one strict reader of photographs
`tags`         image-level labels from VOC's XML, or a file of any kind that `tag_files` and `coco` know
`coco_masks`   true masks from COCO's instances
`augment`      the training crop and the inference frame
`dataset`      what belongs to one image id: photograph, tags, superpixels
`workers`      one function over many items, inline or in processes, in order
`batches`      shuffled training batches and ordered inference batches
`check`        a whole folder read once, every problem collected
`voc`          the lists of VOC 2012 from the user's own copy
`embedded`     the small set that the package draws itself
=============  ============================================================================================
"""
