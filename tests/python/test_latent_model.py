"""Latents against plain arrays: every operation, in every order, counted and compared."""

from collections.abc import Callable
from itertools import groupby

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

import hanse
from hanse.latent_block import continue_block, open_block

SPEC = hanse.LatentSpec("model@1", layers=2, kv_heads=2, head_dim=4)


def block(tokens: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SPEC.shape(tokens)).astype(np.float32)


class Held:
    """A handle, what it must read as, and what each of its tokens asks for a million of them."""

    def __init__(
        self,
        latent: hanse.Latent,
        kv: np.ndarray,
        base: int,
        rests_on: frozenset[int],
        prices: list[int],
    ):
        self.latent, self.kv, self.base, self.rests_on = latent, kv, base, rests_on
        self.prices = prices

    def cost(self) -> int:
        """Of reading it: each run of one price rounded up."""
        runs = [(price, len(list(run))) for price, run in groupby(self.prices)]
        return sum(-(-price * tokens // 1_000_000) for price, tokens in runs)


class LatentMachine(RuleBasedStateMachine):
    """One tenant that owns, another that reads by grants."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.kernel = hanse.open()
        self.mine = self.kernel.agents.add("mine", kind="group")
        self.theirs = self.kernel.agents.add("theirs", kind="group")
        add = self.kernel.agents.add
        others = add("others", kind="group")
        self.reader, self.worker = add("reader", parent=others), add("worker", parent=others)
        self.human = add("human", kind="human", parent=others)
        self.kernel.ledger.fund(self.reader, 10**12)
        self.live: dict[int, Held] = {}
        self.revoked: set[int] = set()
        self.lent: dict[int, int] = {}  # handle -> number of its grant
        self.grants = 0
        self.seed = 0

    def keep(
        self,
        latent: hanse.Latent,
        kv: np.ndarray,
        base: int,
        on: frozenset[int],
        prices: list[int],
    ) -> Held:
        held = Held(latent, kv, base, on, prices)
        self.live[latent.id] = held
        return held

    def balances(self) -> dict[int, int]:
        agents = (self.mine, self.theirs, self.reader, self.worker)
        return {agent: self.kernel.ledger.balance(agent) for agent in agents}

    def reads(self, held: Held) -> bool:
        """Whether it may be read; checks that a refusal says why."""
        if not held.rests_on & self.revoked:
            return True
        for call in (held.latent.read, held.latent.fork):
            assert refused(call) == "Revoked"
        return False

    @rule(
        target=held,
        tokens=st.integers(1, 40),
        base=st.sampled_from([0, 0, 7]),
        price=st.sampled_from([0, 300_000, 2_000_000]),
    )
    def put(self, tokens: int, base: int, price: int) -> Held:
        self.seed += 1
        kv = block(tokens, self.seed)
        latents = self.kernel.latents
        latent = latents.put(
            kv, SPEC, position_base=base, owner=self.mine, step=self.seed, price=price
        )
        return self.keep(latent, kv, base, frozenset(), [price] * tokens)

    @rule(target=held, one=held)
    def fork(self, one: Held) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        return self.keep(one.latent.fork(), one.kv, one.base, one.rests_on, one.prices)

    @rule(target=held, one=held, tokens=st.integers(1, 20))
    def append(self, one: Held, tokens: int) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        self.seed += 1
        more = block(tokens, self.seed)
        longer = one.latent.append(more, step=self.seed)
        kv, prices = np.concatenate([one.kv, more], 2), one.prices + [longer.info.price] * tokens
        assert longer.info.price == one.latent.info.price
        return self.keep(longer, kv, one.base, one.rests_on, prices)

    @rule(target=held, one=held, data=st.data())
    def slice(self, one: Held, data: st.DataObject) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        first = data.draw(st.integers(0, one.kv.shape[2] - 1))
        count = data.draw(st.integers(1, one.kv.shape[2] - first))
        part = one.latent.slice(count, first=first)
        kv = one.kv[:, :, first : first + count]
        prices = one.prices[first : first + count]
        return self.keep(part, kv, one.base + first, one.rests_on, prices)

    @rule(
        target=held,
        tokens=st.integers(1, 40),
        room=st.integers(0, 20),
        price=st.sampled_from([0, 300_000]),
    )
    def fill_a_block(self, tokens: int, room: int, price: int) -> Held:
        self.seed += 1
        kv = block(tokens, self.seed)
        place = open_block(self.kernel, SPEC, tokens + room, owner=self.mine)
        assert not place.array.any()
        place.array[:, :, :tokens] = kv
        latent = place.publish(tokens, step=self.seed, price=price)
        return self.keep(latent, kv, 0, frozenset(), [price] * tokens)

    @rule(target=held, one=held, tokens=st.integers(1, 12), room=st.integers(0, 20))
    def go_on_in_a_block(self, one: Held, tokens: int, room: int) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        self.seed += 1
        more, begun = block(tokens, self.seed), one.kv.shape[2]
        place = continue_block(self.kernel, one.latent, room=tokens + room)
        np.testing.assert_array_equal(place.array[:, :, :begun], one.kv)
        assert not place.array[:, :, begun : begun + tokens].any()
        place.array[:, :, begun : begun + tokens] = more
        longer = place.publish(begun + tokens, step=self.seed)
        kv, prices = np.concatenate([one.kv, more], 2), one.prices + [longer.info.price] * tokens
        assert longer.info.price == one.latent.info.price
        return self.keep(longer, kv, one.base, one.rests_on, prices)

    @rule(target=held, one=held, other=held)
    def concat(self, one: Held, other: Held) -> Held:
        if one.latent.id not in self.live or other.latent.id not in self.live:
            return one
        if not self.reads(one) or not self.reads(other):
            return one
        latents = self.kernel.latents

        def join() -> hanse.Latent:
            return latents.concat([one.latent, other.latent])

        if other.base != one.base + one.kv.shape[2]:
            assert refused(join) == "PositionOverlap"
            return one
        kv = np.concatenate([one.kv, other.kv], 2)
        rests_on = one.rests_on | other.rests_on
        return self.keep(join(), kv, one.base, rests_on, one.prices + other.prices)

    @rule(target=held, one=held)
    def lend(self, one: Held) -> Held:
        if one.latent.id not in self.live or one.latent.reader != self.mine or one.rests_on:
            return one
        self.grants += 1
        number = self.lent.setdefault(one.latent.id, self.grants)
        one.latent.grant(self.theirs)
        theirs = hanse.Latent(self.kernel, one.latent.id, self.theirs)
        return self.keep(theirs.fork(), one.kv, one.base, frozenset({number}), one.prices)

    @rule(one=held)
    def revoke(self, one: Held) -> None:
        if one.latent.id not in self.live:
            return
        number = self.lent.pop(one.latent.id, None)
        assert one.latent.revoke(self.theirs) == (number is not None)
        if number is not None:
            self.revoked.add(number)

    @rule(one=consumes(held))
    def release(self, one: Held) -> None:
        self.lent.pop(one.latent.id, None)
        if self.live.pop(one.latent.id, None) is not None:
            one.latent.release()
        assert refused(one.latent.release) == "UnknownLatent"

    @rule(one=held, allowed=st.sampled_from([None, True, False]))
    def read_for_a_price(self, one: Held, allowed: bool | None) -> None:
        """A task of another tenant reads it: who made it is paid at once, or once it is allowed."""
        if one.latent.id not in self.live or one.latent.reader != self.mine or one.rests_on:
            return
        asked = {} if allowed is None else {"approval": "spend", "approver": self.human}
        before = self.balances()
        one.latent.grant(self.reader)
        receipt = self.kernel.as_agent(self.reader).dispatch(
            to=self.worker, budget=10**6, latents=[one.latent], **asked
        )
        one.latent.revoke(self.reader)
        if allowed is not None:
            held = {**before, self.reader: before[self.reader] - 10**6}
            assert self.balances() == held  # Reserved, and nobody paid.
            (item,) = self.kernel.inbox(self.human)
            self.kernel.as_agent(self.human).answer(item, allow=allowed)
        if allowed is not False:
            self.kernel.as_agent(self.reader).cancel(receipt.task)
        paid = 0 if allowed is False else one.cost()
        before[self.mine] += paid
        before[self.reader] -= paid
        assert self.balances() == before

    @rule(one=held, pin=st.booleans())
    def keep_without_handle(self, one: Held, pin: bool) -> None:
        if one.latent.id in self.live and one.latent.reader == self.mine and self.reads(one):
            one.latent.keep(pin=pin)
            if pin:
                one.latent.forget()

    @rule(size=st.sampled_from([1, 1 << 12, 1 << 20]))
    def evict(self, size: int) -> None:
        self.kernel._core.latent_evict(self.mine, size)

    @invariant()
    def everything_reads_as_it_should_and_is_counted_once(self) -> None:
        status = self.kernel.latents.status()
        assert status.handle_count == len(self.live)
        for held in self.live.values():
            if self.reads(held):
                np.testing.assert_array_equal(held.latent.read(), held.kv)

    def teardown(self) -> None:
        for held in self.live.values():
            held.latent.release()
        self.kernel._core.latent_evict(self.mine, 1 << 40)
        status = self.kernel.latents.status()
        assert (status.page_bytes_used, status.page_count, status.handle_count) == (0, 0, 0)
        self.kernel.close()


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except hanse.HanseError as error:
        return error.name
    return "nothing was raised"


LatentMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLatents = LatentMachine.TestCase
