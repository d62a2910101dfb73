"""torch_lean.py DATA.npz EPOCHS [foreach]: the leanest loop that python3-torch allows, one thread; samples/s (of processor time) and loss of the last epoch."""
import sys
import time

import numpy as np
import torch

torch.set_num_threads(1)
torch.manual_seed(1)
data = np.load(sys.argv[1])
x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"].astype(np.int64))
model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Linear(128, 64), torch.nn.ReLU(),
                            torch.nn.Linear(64, int(y.max()) + 1))
loss_of = torch.nn.CrossEntropyLoss()
adam = torch.optim.Adam(model.parameters(), lr=1e-3, foreach=len(sys.argv) > 3)
for epoch in range(int(sys.argv[2])):
    order, total, start = torch.randperm(len(x)), torch.zeros(()), time.process_time()
    for i in range(0, len(x), 64):
        rows = order[i:i + 64]
        loss = loss_of(model(x[rows]), y[rows])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        total += loss.detach() * len(rows)
    seconds = time.process_time() - start
print("%.0f %.6f" % (len(x) / seconds, total.item() / len(x)))
