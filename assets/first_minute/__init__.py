"""What a machine does with the pretrain task, found in about a minute and without its data.

`autoresearch doctor --gpu` runs each phase as a process of its own, in a folder that has the task's files and the
harness: `python -m first_minute PHASE`. A phase prints one JSON object as its last line; what it could not do is in it
as `error`, in one line. So a kernel that crashes its process costs one phase.

    card       what device, driver and build of torch are there, and whether they go together
    products   matrix products by precision, on a large square and on the task's shapes; copies
    kernels    each way to compute attention: whether it runs, how far it is off, how long it takes
    compiler   whether torch.compile works, how long it takes, what it gains
    step       the task's own training step: time, tokens a second, memory against the estimate
    memory     whether one process can hand a block of the device's memory to another
"""
