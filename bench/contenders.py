"""Who takes part, in the order of the first round."""

from bench.branchline import Branchline
from bench.contender import Contender
from bench.copy_only import CopyOnly
from bench.faststream_contenders import FastStreamContender
from bench.ingestion import CustomerIngestion
from bench.relaying import Relaying

CONTENDERS: tuple[Contender, ...] = (
    CopyOnly(),
    CopyOnly("copy_only_text", binary=False),
    Branchline(),
    Branchline("branchline_2_processes", processes=2),
    Branchline("branchline_16_partitions", partitions=16),
    FastStreamContender("faststream_batch", batch=500, share=0.05),
    FastStreamContender("faststream_single", batch=None, share=0.00125),
    CustomerIngestion(),
    Relaying(),
)
BY_NAME = {contender.name: contender for contender in CONTENDERS}
