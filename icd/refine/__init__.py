"""From score maps to better score maps and masks. The functions here take and give numpy arrays and work without MXNet.

`affinitynet` is trained, and needs MXNet; `trained` finds what is trained by name.

=================  ====================================================================================
`superpixels`      graph-based superpixels, feature means inside regions, greedy merging
`crf`              fully connected conditional random field
`random_walk`      random walk of scores along pixel affinities (PSA, IRN)
`path_affinity`    affinities from a boundary map (IRN)
`arguments`        the checks of arguments that these four share
=================  ====================================================================================
"""
