"""Who takes part, in the order of the first round."""

from bench.branchline import Branchline
from bench.contender import Contender
from bench.copy_only import CopyOnly

CONTENDERS: tuple[Contender, ...] = (
    CopyOnly(),
    Branchline(),
    Branchline("branchline_2_processes", processes=2),
    Branchline("branchline_16_partitions", partitions=16),
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}
