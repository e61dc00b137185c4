"""Latents against plain arrays: every operation, in every order, counted and compared."""

from collections.abc import Callable

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

import hanse

SPEC = hanse.LatentSpec("model@1", layers=2, kv_heads=2, head_dim=4)


def block(tokens: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SPEC.shape(tokens)).astype(np.float32)


class Held:
    """A handle and what it must read as."""

    def __init__(self, latent: hanse.Latent, kv: np.ndarray, base: int, rests_on: frozenset[int]):
        self.latent, self.kv, self.base, self.rests_on = latent, kv, base, rests_on


class LatentMachine(RuleBasedStateMachine):
    """One tenant that owns, another that reads by grants."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.kernel = hanse.open()
        self.mine = self.kernel.agents.add("mine", kind="group")
        self.theirs = self.kernel.agents.add("theirs", kind="group")
        self.live: dict[int, Held] = {}
        self.revoked: set[int] = set()
        self.lent: dict[int, int] = {}  # handle -> number of its grant
        self.grants = 0
        self.seed = 0

    def keep(self, latent: hanse.Latent, kv: np.ndarray, base: int, on: frozenset[int]) -> Held:
        held = Held(latent, kv, base, on)
        self.live[latent.id] = held
        return held

    def reads(self, held: Held) -> bool:
        """Whether it may be read; checks that a refusal says why."""
        if not held.rests_on & self.revoked:
            return True
        for call in (held.latent.read, held.latent.fork):
            assert refused(call) == "Revoked"
        return False

    @rule(target=held, tokens=st.integers(1, 40), base=st.sampled_from([0, 0, 7]))
    def put(self, tokens: int, base: int) -> Held:
        self.seed += 1
        kv = block(tokens, self.seed)
        latents = self.kernel.latents
        latent = latents.put(kv, SPEC, position_base=base, owner=self.mine, step=self.seed)
        return self.keep(latent, kv, base, frozenset())

    @rule(target=held, one=held)
    def fork(self, one: Held) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        return self.keep(one.latent.fork(), one.kv, one.base, one.rests_on)

    @rule(target=held, one=held, tokens=st.integers(1, 20))
    def append(self, one: Held, tokens: int) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        self.seed += 1
        more = block(tokens, self.seed)
        longer = one.latent.append(more, step=self.seed)
        return self.keep(longer, np.concatenate([one.kv, more], 2), one.base, one.rests_on)

    @rule(target=held, one=held, data=st.data())
    def slice(self, one: Held, data: st.DataObject) -> Held:
        if one.latent.id not in self.live or not self.reads(one):
            return one
        first = data.draw(st.integers(0, one.kv.shape[2] - 1))
        count = data.draw(st.integers(1, one.kv.shape[2] - first))
        part = one.latent.slice(count, first=first)
        kv = one.kv[:, :, first : first + count]
        return self.keep(part, kv, one.base + first, one.rests_on)

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
        return self.keep(join(), kv, one.base, one.rests_on | other.rests_on)

    @rule(target=held, one=held)
    def lend(self, one: Held) -> Held:
        if one.latent.id not in self.live or one.latent.reader != self.mine or one.rests_on:
            return one
        self.grants += 1
        number = self.lent.setdefault(one.latent.id, self.grants)
        one.latent.grant(self.theirs)
        theirs = hanse.Latent(self.kernel, one.latent.id, self.theirs)
        return self.keep(theirs.fork(), one.kv, one.base, frozenset({number}))

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
