"""pandas_csv.py TABLE [cast]: seconds that pandas and its processors take to read a table into float32: directly, or by casting what it reads."""
import sys
import time

import numpy as np
import pandas as pd

start, busy = time.monotonic(), time.process_time()
if len(sys.argv) > 2:
    pd.read_csv(sys.argv[1]).to_numpy(np.float32)
else:
    pd.read_csv(sys.argv[1], dtype=np.float32)
print("%.6f %.6f" % (time.monotonic() - start, time.process_time() - busy))
