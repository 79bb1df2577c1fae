"""Networks over clips and their training: `i3d_train --help` has the commands.

`i3d_train.models.build`, `i3d_train.weights.load`, `i3d_train.train.train`, `i3d_train.evaluate.evaluate` and
`i3d_train.predict.predict` are the library's front doors.
"""
