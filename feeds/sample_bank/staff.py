"""The bank's branches and managers: the same in every sample."""

from dataclasses import dataclass

from feeds.sample_bank.dice import Dice
from feeds.sample_bank.names import person
from shared.events.corebanking import BranchRecorded, ManagerRecorded

BRANCHES = (("B01", "云岚支行 Yunlan", "云岚"), ("B02", "鹤桥支行 Heqiao", "鹤桥"), ("B03", "松渡支行 Songdu", "松渡"))
MANAGERS_PER_BRANCH = 8

DEMO_MANAGER_ID = "M0102"
DEMO_BRANCH_ID = "B01"
DEMO_BRANCH_HEAD_ID = "M0101"


@dataclass(frozen=True)
class Manager:
    """`coverage` is the part of the portfolio that they ever contact. The first of a branch is its head."""

    manager_id: str
    deputy_id: str
    branch_id: str
    city: str
    coverage: float
    recorded: ManagerRecorded


def branches() -> list[BranchRecorded]:
    return [BranchRecorded(branch_id=code, revision=1, name=name, city=city) for code, name, city in BRANCHES]


def managers(seed: int) -> list[Manager]:
    staff = []
    for branch, (branch_id, _, city) in enumerate(BRANCHES, start=1):
        for position in range(1, MANAGERS_PER_BRANCH + 1):
            manager_id = f"M{branch:02d}{position:02d}"
            dice = Dice(seed, "manager", manager_id)
            recorded = ManagerRecorded(
                manager_id=manager_id,
                revision=1,
                branch_id=branch_id,
                name=person(dice),
                email=f"{manager_id.lower()}@sample-bank.example",
                is_branch_head=position == 1,
            )
            deputy_id = f"M{branch:02d}{position % MANAGERS_PER_BRANCH + 1:02d}"
            staff.append(Manager(manager_id, deputy_id, branch_id, city, dice.share(0.2, 0.85), recorded))
    return staff
