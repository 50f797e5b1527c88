out_dir = "out-char"
max_iters = 60
eval_interval = 20
