"""What every task with training data shares: feeder, grader, and what a trainer needs of the machine.

`init` copies this folder into a workspace. It is immutable there, and its hash is part of the manifest. Five processes
work on one run, and each knows only what its arrow brings (docs/processes.md has the picture):

    feeder   holds the training data and the clock      feeder.py, clock.py
    trainer  the mutable file                            batches.py, finish.py, device.py, attention.py
    grader   holds the hidden data and the result        grader.py, command_line.py
    model A  the mutable file's model, scores all        model_process.py
    model B  the same, later, sees only prefixes         model_process.py, probes.py

A task adds `prepare.py` (its data, its shapes, its scoring rule), the mutable file, `autoresearch.toml` and
`program.md`. Nothing here imports a task. Feeder and grader import no torch, but for a grader whose logits lie on a
GPU.
"""
