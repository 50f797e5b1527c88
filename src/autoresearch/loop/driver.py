"""The loop without a person: what `next` proposes, an agent's edit, what `try` measures, again and again.

The journal is the only memory. A turn reserves what the agent may cost, has the edit made in a folder of its own,
checks it, commits it on top of the incumbent without touching the workspace, and writes a `proposal` line; from then
on that commit is to be measured, whatever happens. After a kill, `run` goes on with the first of these that is not
done: a commit that waits to be measured, an answer that lies in the folder, a new turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from autoresearch.errors import AutoresearchError, MachineError, PreconditionError, StopReached
from autoresearch.escaping import one_line
from autoresearch.experiments.attempt import attempt
from autoresearch.experiments.baseline import baseline
from autoresearch.experiments.candidate import repeated
from autoresearch.experiments.preflight import check_stop, preflight
from autoresearch.experiments.result import ExperimentResult
from autoresearch.journal.loop import CUT_SHORT, LoopProposal
from autoresearch.journal.loop_events import loop_begin_line, loop_end_line, proposal_line
from autoresearch.journal.session import Session
from autoresearch.journal.study import Study
from autoresearch.loop.agents.base import Agent
from autoresearch.loop.awake import Times, kept_awake
from autoresearch.loop.guarded import Skipped, interrupts, watch_for_skip
from autoresearch.loop.ledger import Accounts
from autoresearch.loop.lineup import LineUp
from autoresearch.loop.options import Ended, Options
from autoresearch.loop.place import check_place, patiently, put_on_branch, take_off_branch
from autoresearch.loop.proposals import REPLACED
from autoresearch.loop.roster import CORRECT, Roster, why_not_ready
from autoresearch.loop.turn import Turns
from autoresearch.runs.spec import RunContext, Tick
from autoresearch.studies.aa import aa_candidate, due, interval
from autoresearch.workspace.lock import lock, only_loop
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.task_file import Stop, load
from autoresearch.workspace.workspace import Workspace

FRUITLESS = 5
"""Turns in a row without anything to measure, after which the loop ends: whoever is asked has nothing to say."""

INTERRUPTED = 5
"""How often the runs of one proposal may be cut short before it is given up."""

MACHINE = 3
"""Experiments and A/A candidates in a row that the machine failed, after which the loop ends."""

LOOK_S = 1.0
"""Seconds between two looks at the journal and the file STOP while the loop waits."""


class Driver:
    """Runs the loop in one workspace. `say` is told what happens, `tell` the result of each experiment; with `awake`
    the machine is kept from going to sleep, where that can be done."""

    def __init__(
        self,
        workspace: Workspace,
        agents: Sequence[Agent],
        options: Options,
        *,
        times: Times | None = None,
        awake: bool = True,
        tick: Tick | None = None,
        say: Callable[[str], None] = lambda text: None,
        tell: Callable[[ExperimentResult], None] = lambda result: None,
    ) -> None:
        self.workspace, self.options, self.tick, self.say, self.tell = workspace, options, tick, say, tell
        self.times, self.awake = times or Times(), awake
        self.roster = Roster(agents)
        self.accounts = Accounts(workspace, self.times.wall, self.times.steady)
        self.turns = Turns(workspace, self.roster, self.accounts, options, self.times, say)
        self._at_machine = ""
        """The agent that had the last turn."""
        self._failed_in_a_row = 0
        """Experiments and A/A candidates that the machine failed."""
        self._hours_before, self._began, self._paused_s = 0.0, self.times.steady(), 0.0

    @property
    def session(self) -> Session:
        return load_session(self.workspace)

    def run(self) -> Ended:
        """Go on until a stop condition holds, and say which.

        Raises `StopReached` when one holds already, `MachineError` when it was interrupted, and what ends the loop
        otherwise: a workspace that is not ready, a machine that fails, an agent that a person must do something for.
        """
        awake = kept_awake(self.say) if self.awake else contextlib.nullcontext()
        with only_loop(self.workspace), interrupts(), awake, self._slots() as self.lineup:
            killed = self._begin()
            before = self._progress()
            try:
                while True:
                    self._hold()
                    context, session = self._line_up()
                    if due(session, interval(self.options.aa_every, self.lineup.width)):
                        self._aa()
                    elif session.waiting and not self._may_propose(session):
                        self._measure(context, session, session.waiting[0])
                    else:
                        self._turn(context, session)
            except StopReached as stop:
                self._end(stop.message)
                if self._progress() == before and not killed:
                    raise
                return Ended(stop.message, self.session, self._measured(self.session))
            except KeyboardInterrupt:
                self._end(CUT_SHORT)
                raise MachineError("interrupted", f"go on with: {self.options.again}") from None
            except AutoresearchError as error:
                self._end(CUT_SHORT if isinstance(error.__cause__, KeyboardInterrupt) else error.message)
                raise

    @contextlib.contextmanager
    def _slots(self) -> Iterator[LineUp]:
        lineup = LineUp(self.workspace, self.options.workers, self.accounts, self.say)
        try:
            yield lineup
        finally:
            lineup.close()

    def _progress(self) -> tuple[int, int]:
        """Return how many proposals and experiments there are."""
        return len(self.session.loop.proposals), len(self.session.experiments)

    # --- its beginning and its end ---

    def _begin(self) -> bool:
        """Repair what a kill has cut short, also where nothing is left to do, say in the journal that the loop begins,
        and return whether the last one was killed. One that was cut short goes on with what is left of its limits,
        where they are the same."""
        for agent in self.roster.left:
            if (why := why_not_ready(agent)) is not None:
                self.roster.gone[agent.name] = _not_ready(agent.name, why)
                if self.roster.left:
                    self.say(f"{agent.name} is not ready: {why}")
        if not self.roster.left:
            raise self.roster.last_words
        run, told, names = self.session.loop.run, self.options.told, [agent.name for agent in self.roster.agents]
        killed = run is not None and run.ended is None
        if killed:
            self.turns.tidy(self.session)
        self._ready()  # a journal that has lost lines is refused here: behind one of ours they could not come back
        session = self.session
        if run is not None and run.goes_on(told):
            self._hours_before = session.loop.hours
            self.say("going on after an interruption")
        append(self.workspace, loop_begin_line(names, told, session.next_number, self.times.wall()))
        return killed

    def _end(self, reason: str) -> None:
        append(self.workspace, loop_end_line(one_line(reason, 400), self.times.wall()))

    def _hold(self) -> None:
        """Wait while the loop is paused; raise `StopReached` when it has done what it was to do."""
        session = self._check_stops()
        if session.loop.steering.paused:
            self.say("paused; it goes on after: autoresearch continue")
            began = self.times.steady()
            while self.session.loop.steering.paused:
                self._rest()
            self._paused_s += self.times.steady() - began
            self.say("goes on")
            session = self.session
        if session.incumbent is None:
            self.say("there is no baseline yet; it is measured first")
            self.accounts.experiment = session.next_number
            made = patiently(self.workspace, self._baseline, self._rest)
            if made is not None:
                self.tell(made)

    def _baseline(self) -> ExperimentResult | None:
        """Measure the baseline; None where another command has done so while this one waited for it."""
        if self.session.incumbent is not None:
            return None
        return baseline(
            self.workspace, None, self.times.wall, tick=self.tick, meter=self.accounts.device, workers=self.lineup.asked
        )

    def _line_up(self) -> tuple[RunContext, Session]:
        """Return what a run needs, checked, and the session; first runs of what waits begin where slots are free."""
        context, session = self._ready()
        if self.lineup.to_begin(session):
            limit = self.options.max_experiments
            most = None if limit is None else max(0, limit - len(self._measured(session)))
            waiting = session.waiting
            session = patiently(self.workspace, lambda: self.lineup.begin(context, self.times.wall, most), self._rest)
            if session.waiting != waiting:  # and another command may have been let in before that was done
                context, session = self._ready()
        return context, session

    def _may_propose(self, session: Session) -> bool:
        """Whether another proposal is made before the first of those that wait is measured: while slots are free for it
        and whoever would make it can; not after one that gave nothing, since a verdict may tell more."""
        waiting = len(session.waiting)
        if waiting >= self.lineup.width or session.loop.fruitless or not self.roster.left:
            return False
        if self.roster.pick(session, self.times.wall()) is None:
            return False
        try:
            self._check_stops(waiting)
        except StopReached:
            return False
        return True

    def _check_stops(self, waiting: int | None = None) -> Session:
        """Raise `StopReached` when no turn may begin; what is proposed already is only held up by the hours, and by
        `--max-experiments`: an earlier run may have left more than that. Returns the session that was looked at.

        With `waiting`, when none may begin while so many proposals wait, which will be experiments.
        """
        session, options, rules = self.session, self.options, load(self.workspace.root).stop
        owed = session.proposed is not None and waiting is None
        if waiting and rules.max_experiments is not None:
            rules = rules.model_copy(update={"max_experiments": rules.max_experiments - waiting})
        hours_alone = Stop(max_hours=rules.max_hours, time_for_confirm=False)
        check_stop(self.workspace, session, hours_alone if owed else rules, self.times.wall())
        done, run = len(self._measured(session)) + (waiting or 0), session.loop.run
        hours = self._hours()
        spent = session.ledger.since(run.entries if run else 0).usd if options.max_usd is not None else 0.0
        reason = limit = ""
        if options.max_hours is not None and hours >= options.max_hours:
            reason = f"{hours:.1f} hours have passed, --max-hours is {options.max_hours:g}"
            limit = "--max-hours"
        elif options.max_experiments is not None and done >= options.max_experiments:
            reason = f"experiments measured: {done}, --max-experiments is {options.max_experiments}"
            limit = "--max-experiments"
        elif options.max_usd is not None and spent >= options.max_usd and not owed:
            reason = f"{spent:.2f} USD are spent, --max-usd is {options.max_usd:g}"
            limit = "--max-usd"
        if reason:
            raise StopReached(reason, f"for more, raise {limit}, or leave it out")
        return session

    def _hours(self) -> float:
        """Return the hours of this run of the loop, without those in which it was paused; no clock can be set so."""
        return self._hours_before + (self.times.steady() - self._began - self._paused_s) / 3600

    def _measured(self, session: Session) -> tuple[int, ...]:
        """Return the experiments of this run of the loop that have a verdict."""
        first, commits = session.loop.run.first if session.loop.run else 0, session.loop.commits
        mine = [e for e in session.experiments if e.number >= first and e.commit in commits and e.status]
        return tuple(e.number for e in mine if e.outcome != "killed")

    def _ready(self) -> tuple[RunContext, Session]:
        """Repair and check all that a run needs, before anything is spent on an agent."""

        def checked() -> tuple[RunContext, Session]:
            with lock(self.workspace):
                context, session, done = preflight(self.workspace, self.times.wall, None, stops=False)
                for line in done:
                    self.say(line)
                check_place(context, session)
                return context, session

        return patiently(self.workspace, checked, self._rest)

    def _rest(self) -> None:
        check_stop(self.workspace, self.session, Stop(), self.times.wall())  # the file STOP alone
        self.times.sleep(LOOK_S)

    # --- a turn ---

    def _turn(self, context: RunContext, session: Session) -> None:
        """Have one proposal made; what comes of it is a line of the journal."""
        if not self.turns.take_up(context, session):
            agent = self._whose_turn(session)
            if agent is None:
                return
            self.turns.make(context, session, agent)
        loop = self.session.loop
        if loop.fruitless >= FRUITLESS and loop.last is not None and not self.session.waiting:
            what = f"{FRUITLESS} turns in a row gave nothing to measure; the last one: {loop.last.reason}"
            raise AutoresearchError(what, "see: autoresearch log")

    def _whose_turn(self, session: Session) -> Agent | None:
        """Return the agent that has the machine; None after a wait, when all had to rest."""
        if not self.roster.left:
            raise self.roster.last_words
        stuck = session.loop.last if session.loop.repeated >= REPLACED else None
        agent = self.roster.pick(session, self.times.wall(), stuck.agent if stuck else "")
        if agent is None:
            self._wait(*self.roster.next_rested(session))
            return None
        self.roster.waited_for = ""
        if agent.name != self._at_machine:
            if self._at_machine:
                self.say(f"{agent.name} has the machine now")
            self._at_machine = agent.name
        return agent

    def _wait(self, until: float, agent: str) -> None:
        """Wait for a time of day; where the clock is set meanwhile, for as long as that is away now."""
        now, began = self.times.wall(), self.times.steady()
        self.say(f"every agent must rest; it goes on in {max(0.0, until - now) / 60:.0f} minutes")
        while self.times.wall() < until and self.times.steady() - began < until - now:
            self._hold()
            self.times.sleep(LOOK_S)
        self.roster.waited_for = agent

    # --- measuring ---

    def _aa(self) -> None:
        """Put the incumbent's own code through a verdict against itself, and say what that was."""
        session = self.session
        self.accounts.experiment = number = session.incumbent.number if session.incumbent else 0
        watch = watch_for_skip(self.workspace, session.loop.steering.skips, self.tick)

        def made() -> Study | None:
            return aa_candidate(
                self.workspace, self.times.wall, self.options.again, tick=watch, meter=self.accounts.device,
                workers=self.lineup.asked,
            )  # fmt: skip

        try:
            study = patiently(self.workspace, made, self._rest)
        except MachineError as error:
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise
            self.say(f"    A/A of experiment {number}: {one_line(error.message, 200)}")
            return self._count(error.message)  # it is made anew
        if study is not None:
            self._count(None)
            kept, why = study.result.get("kept"), one_line(str(study.result.get("reason", "")), 200)
            told = study.outcome if kept is None else "would have been kept" if kept else "would not have been kept"
            self.say(f"    A/A of experiment {study.about['experiment']}: {told} ({why})")
        return None

    def _measure(self, context: RunContext, session: Session, proposal: LoopProposal) -> None:
        """Measure a proposal's commit as `try` does; what is cut short stays waiting, and is measured again."""
        commits = {p.commit for p in session.loop.proposals if p.turn == proposal.turn}
        tries = [e for e in session.experiments if e.commit in commits and e.commit]
        if len(tries) >= INTERRUPTED:
            return self._give_up(proposal, "given_up", f"its runs were interrupted {len(tries)} times")
        if session.loop.steering.skips > proposal.skips:
            return self._give_up(proposal, "skipped", "a person said: skip")
        known = repeated(context.git, session, context.task, proposal.commit or "", proposal.fingerprint or "")
        if measured := [e for e in known if e.status is not None]:
            reason = f"experiment {measured[-1].number} has measured its code meanwhile"
            return self._give_up(proposal, "given_up", reason)
        bring = partial(self.lineup.bring, context, session, proposal, self.times.wall)
        if patiently(self.workspace, bring, self._rest):
            return None  # `try` has kept something meanwhile: now it is another commit, or refused
        patiently(self.workspace, lambda: put_on_branch(context, proposal, self._remade), self._rest)
        self.accounts.experiment = self.session.next_number
        try:
            result = patiently(self.workspace, lambda: self._attempt(proposal), self._rest)
        except MachineError as error:
            if isinstance(error.__cause__, Skipped):
                return self._give_up(proposal, "skipped", str(error.__cause__))
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise MachineError(error.message, f"go on with: {self.options.again}") from error.__cause__
            raise
        self.tell(result)
        return self._count(result.experiment.reason if result.experiment.outcome == "killed" else None)

    def _count(self, failure: str | None) -> None:
        """Count what the machine has failed in a row; raise `MachineError` after too much of it."""
        self._failed_in_a_row = 0 if failure is None else self._failed_in_a_row + 1
        if self._failed_in_a_row >= MACHINE:
            what = f"the machine has failed {MACHINE} experiments in a row: {failure}"
            raise MachineError(what, f"see what autoresearch doctor says of it, then: {self.options.again}")

    def _attempt(self, proposal: LoopProposal) -> ExperimentResult:
        asi = {**proposal.asi, "parent": proposal.parent, "agent": proposal.agent}
        watch = watch_for_skip(self.workspace, proposal.skips, self.tick)
        return attempt(
            self.workspace,
            proposal.description,
            asi,
            self.times.wall,
            stops=False,
            tick=watch,
            meter=self.accounts.device,
            workers=self.lineup.asked,
        )

    def _remade(self, proposal: LoopProposal, commit: str) -> None:
        """Write down the commit that a proposal has now."""
        append(self.workspace, proposal_line(replace(proposal, commit=commit), self.times.wall()))

    def _give_up(self, proposal: LoopProposal, outcome: str, reason: str) -> None:
        take_off_branch(self._ready()[0], proposal)
        dropped = replace(proposal, outcome=outcome, commit=None, reason=reason, remarks=())
        append(self.workspace, proposal_line(dropped, self.times.wall()))
        self.say(f"    {proposal.agent}, turn {proposal.turn}: {outcome} ({proposal.description}): {reason}")


def _not_ready(name: str, why: str) -> PreconditionError:
    """Return what `Agent.ready` says as an error: what to type is behind its last colon."""
    said, colon, fix = why.rpartition(": ")
    if not colon:
        said, fix = why, CORRECT
    return PreconditionError(f"the agent {name} is not ready: {said}", fix)
