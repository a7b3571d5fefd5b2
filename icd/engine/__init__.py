"""Training and localization of any method: the loop, checkpoints, logs, devices. No paper is named here."""
