"""The published pipelines as data, one YAML file a chain; `icd.stages.chain` reads them.

A stage is a line `name: {kind: what, setting: value, …}`. `what` is the trainable of `train`, and the stage that all other kinds
read. A value that names an earlier stage is that stage. `folder` is below the run folder, by default the stage's name.
"""
