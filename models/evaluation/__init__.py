"""Honest figures of a model package, on groups never seen in training: ``python -m models.evaluation``.

`predictions` holds what a package said about cells, fields and composed studies, as files that stand in its report;
`cells`, `patients`, `fields`, `studies`, `calibration` make figures from those files alone, so that anyone can compute
them again. `baselines` and `strain` need the images, `page` shows it all.
"""
