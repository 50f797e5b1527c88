"""One turn of an agent: a brief, an answer that is paid for, a check, and a line of the journal for what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from autoresearch.errors import AutoresearchError, StopReached
from autoresearch.escaping import one_line
from autoresearch.journal.loop import MADE, LoopProposal
from autoresearch.journal.loop_events import agent_line, proposal_line
from autoresearch.journal.message_events import message_shown_line
from autoresearch.journal.session import Session
from autoresearch.loop.agents.base import Agent, AgentGone, AgentResting, Brief, ProposalFailed
from autoresearch.loop.agents.client import sweep
from autoresearch.loop.awake import Times
from autoresearch.loop.checked import Checked, answer_of, usage_of
from autoresearch.loop.guarded import Skipped, at_most
from autoresearch.loop.ledger import Accounts, dollars_left
from autoresearch.loop.options import Options
from autoresearch.loop.patience import patience
from autoresearch.loop.proposals import REPLACED, Plan, brief_of, plain_asi, plan
from autoresearch.loop.roster import Roster, rest_until
from autoresearch.loop.scratch import Refused, Scratch
from autoresearch.runs.spec import RunContext
from autoresearch.search.ideas import families_of
from autoresearch.search.strategies import DEFAULT
from autoresearch.system.git import git_at
from autoresearch.workspace.session_journal import append, load_session
from autoresearch.workspace.task_file import load
from autoresearch.workspace.workspace import Workspace

Answer = dict[str, Any]
"""What an agent has said, with what it was asked: the content of `edit.json`."""


@dataclass(slots=True)
class Turns:
    """The turns of one `run`."""

    workspace: Workspace
    roster: Roster
    accounts: Accounts
    options: Options
    times: Times
    say: Callable[[str], None]

    @property
    def session(self) -> Session:
        return load_session(self.workspace)

    def take_up(self, context: RunContext, session: Session) -> bool:
        """Go on with an answer that a kill has left in the folder; return whether there was one."""
        scratch = Scratch(self.workspace, context.git, context.task)
        answer = scratch.kept()
        entry = session.ledger.find(str(answer.get("reservation"))) if answer is not None else None
        if answer is None or entry is None or entry.id in {p.reservation for p in session.loop.proposals}:
            return False
        self.say("an answer that was given before the interruption is taken up")
        self._settle(answer)
        self._take(context, scratch, answer)
        return True

    def tidy(self, session: Session) -> None:
        """End what a kill has left of an agent, and take its folder away, unless there is an answer in it."""
        scratch = Scratch(self.workspace, git_at(self.workspace.root), load(self.workspace.root))
        sweep(scratch.folder)
        scratch.tidy({proposal.reservation for proposal in session.loop.proposals})

    def make(self, context: RunContext, session: Session, agent: Agent) -> None:
        """Have an agent propose an edit, and repair it once if it is refused."""
        scratch = Scratch(self.workspace, context.git, context.task)
        strategy = self.options.strategy or getattr(agent, "strategy", DEFAULT)
        asked = plan(session, strategy, families_of(self.workspace))
        scratch.begin(asked.parent.commit or "")
        repair = ""
        for number in (1, 2):
            answer = self._ask(agent, context, scratch, asked, number, repair)
            refused = self._take(context, scratch, answer) if answer is not None else None
            if refused is None or self._is_stuck(agent):
                return
            repair = refused.message
            if refused.afresh:
                scratch.begin(asked.parent.commit or "")
                repair += "; the folder is again as it was before that edit"

    # --- asking ---

    def _ask(
        self, agent: Agent, context: RunContext, scratch: Scratch, asked: Plan, number: int, repair: str
    ) -> Answer | None:
        """Ask an agent for an edit and keep account of it; return its answer, or None when none can be used."""
        session, workspace = self.session, self.workspace
        left = dollars_left(session, context.task.stop.max_usd, self.options.max_usd)
        limit_s = patience(session, agent.name)
        brief = brief_of(workspace, session, context.task, scratch, asked,
                         repair=repair, seed=self.options.seed, limit_s=limit_s, limit_usd=left)  # fmt: skip
        cost = _price(agent, brief)
        if left is not None and (cost is None or cost > left):
            self._cannot_pay(agent, cost, left)
            return None
        id = self.accounts.reserve(asked.experiment, agent=agent.name, usd=cost)
        about: Answer = {"turn": asked.turn, "round": number, "agent": agent.name, "parent": asked.parent.number,
                         "incumbent": asked.incumbent, "mode": asked.proposal.mode, "reservation": id,
                         "skips": session.loop.steering.skips}  # fmt: skip
        try:
            with at_most(brief.limit_s, workspace, about["skips"]):
                edit = agent.propose(brief)
            description = one_line(edit.description, 200) if isinstance(edit.description, str) else ""
            answer = {**about, "description": description, **answer_of(edit)}
        except AgentResting as rest:
            self.accounts.settle(id, rest.usage)
            self._rests(agent, rest)
            return None
        except AgentGone as gone:
            self.accounts.settle(id, gone.usage)
            self._is_gone(agent, gone)
            return None
        except ProposalFailed as failure:
            self.accounts.settle(id, failure.usage)
            self._drop({**about, "asi": plain_asi(failure.asi)}, "failed", failure.message)
            return None
        except Skipped as skipped:  # what it has spent is not known, and counts as reserved
            self._drop(about, "skipped", str(skipped))
            scratch.remove()
            return None
        except Exception as error:  # of the agent's own code: what it has spent is not known, and counts as reserved
            self._drop(about, "failed", f"{type(error).__name__}: {error}")
            return None
        scratch.keep(answer)
        self._settle(answer)
        return answer

    def _settle(self, answer: Answer) -> None:
        entry = self.session.ledger.find(answer["reservation"])
        if entry is not None and not entry.settled:
            self.accounts.settle(entry.id, usage_of(answer))

    def _rests(self, agent: Agent, rest: AgentResting) -> None:
        now = self.times.wall()
        until = rest_until(self.session, agent.name, rest.until, now)
        append(self.workspace, agent_line(agent.name, one_line(rest.message, 300), now, until=until))
        self.say(f"{agent.name} must rest for {max(0.0, until - now) / 60:.0f} minutes: {rest.message}")

    def _cannot_pay(self, agent: Agent, cost: float | None, left: float) -> None:
        """Leave out an agent whose next proposal the cap does not cover."""
        if cost is None:
            what = f"nobody knows what a proposal of {agent.name} costs, so it cannot work under a cap in dollars"
            why = StopReached(what, "leave out --max-usd and [stop] max_usd, or name another agent after it")
        else:
            what = f"a proposal of {agent.name} may cost {cost:.2f} USD, and {left:.2f} are left of the cap"
            why = StopReached(what, "raise --max-usd or [stop] max_usd, or name another agent after it")
        self._is_gone(agent, why)

    def _is_gone(self, agent: Agent, why: AutoresearchError) -> None:
        self.roster.gone[agent.name] = why
        append(self.workspace, agent_line(agent.name, one_line(str(why), 300), self.times.wall(), until=None))
        self.say(f"{agent.name} cannot go on: {why}")

    def _is_stuck(self, agent: Agent) -> bool:
        """Whether an agent has proposed known code so often that another one has the turn instead of a repair."""
        session = self.session
        return session.loop.repeated >= REPLACED and self.roster.pick(session, self.times.wall(), agent.name) != agent

    # --- taking ---

    def _take(self, context: RunContext, scratch: Scratch, answer: Answer) -> Refused | None:
        """Make an answer the commit of an experiment, or refuse it; either is a line of the journal."""
        session = self.session
        if session.loop.steering.skips > answer["skips"]:
            self._drop(answer, "skipped", "a person said: skip")
            scratch.remove()
            return None
        checked = Checked(context, session, scratch, answer)
        try:
            commit = checked.commit()
        except Refused as refused:
            self._drop(answer, "refused", refused.message, fingerprint=checked.fingerprint, same=checked.same)
            scratch.forget()
            return refused
        made = replace(_proposal(answer, MADE), commit=commit, fingerprint=checked.fingerprint, remarks=checked.remarks)
        append(self.workspace, proposal_line(made, self.times.wall()))
        if session.mailbox.waiting:  # every agent was told; so nothing waits for whoever types a command
            append(self.workspace, message_shown_line(len(session.mailbox.messages), self.times.wall()))
        scratch.remove()
        return None

    def _drop(
        self, about: Answer, outcome: str, reason: str, *, fingerprint: str | None = None, same: int | None = None
    ) -> None:
        reason = one_line(reason, 400)
        dropped = replace(_proposal(about, outcome), reason=reason, fingerprint=fingerprint, same=same)
        append(self.workspace, proposal_line(dropped, self.times.wall()))
        what = f" ({dropped.description})" if dropped.description else ""
        self.say(f"    {dropped.agent}, turn {dropped.turn}: {outcome}{what}: {reason}")


def _price(agent: Agent, brief: Brief) -> float | None:
    """Return the most that a proposal can cost; None where an agent does not know, for whatever reason."""
    try:
        return agent.cost_usd(brief)
    except Exception:
        return None


def _proposal(about: Answer, outcome: str) -> LoopProposal:
    return LoopProposal(
        about["turn"], about["round"], about["agent"], about["parent"], about["mode"], outcome,
        about.get("description", ""), about.get("asi", {}), reservation=about["reservation"],
    )  # fmt: skip
