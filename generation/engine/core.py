"""One step of continuous batching: admit, prefill, decode, report and retire.

This module is synchronous; `generation.engine.engine` runs it on a thread. It depends on the interface of a model
(`generation.engine.interface`) and not on HTTP.
"""

import logging
import time
from collections.abc import Iterator

from generation.engine import beam_group
from generation.engine.beam import BeamSearch
from generation.engine.choosing import attempt, choose, choose_ahead
from generation.engine.group import Group
from generation.engine.interface import Chunk, LanguageModel, Logits
from generation.engine.pace import Pace
from generation.engine.prefix import PrefixCache, chunk_keys
from generation.engine.request import LENGTH, GenerationRequest, PromptScores, Token
from generation.engine.scheduler import Limits, Scheduler
from generation.engine.sequence import Sequence
from generation.engine.speculation import Speculation
from generation.engine.stream import Bell
from generation.errors import ApiError, DeadlineError, GenerationFailedError
from generation.observe.telemetry import Telemetry

log = logging.getLogger(__name__)


class EngineCore:
    """Runs requests from the scheduler's queue through the model and posts the results to their mailboxes."""

    def __init__(
        self,
        model: LanguageModel,
        limits: Limits,
        prefix: PrefixCache | None = None,
        speculation: Speculation | None = None,
        *,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.scheduler = Scheduler(limits)
        self.pace = Pace()
        self.bell = Bell()
        self.telemetry = telemetry or Telemetry()
        self._model = model
        self._cache = model.cache
        self._prefix = prefix
        self._speculation = speculation
        self._chunk = limits.chunk

    def sweep_and_admit(self) -> None:
        """Drop cancelled and expired requests, then admit what fits.

        This is the only part of a step that touches the queue, to which other threads add.
        """
        now = time.monotonic()
        for group in self.scheduler.groups():
            if group.mailbox.cancelled:
                self.abandon(group, None)
            elif now >= group.deadline:
                self._expire(group)
        self.scheduler.admit()
        self.bell.ring()

    def step(self) -> None:
        """Prefill up to one chunk of prompt tokens, then decode at least one token of every running sequence.

        An error ends only the requests that it concerns.
        """
        groups = list(self.scheduler.chunks())
        if groups:
            for group in groups:
                if group.prefilled == 0:
                    self._reuse_prefix(group)
                    self.telemetry.admitted(group.timeline, group.prefilled)
            self._prefill(groups)
            self.bell.ring()
        if self.scheduler.running:
            self._decode()
            self.bell.ring()

    def abandon(self, group: Group, error: ApiError | None) -> None:
        """End a request in any state; send only `error`, if there is one."""
        if group in self.scheduler.waiting:
            self.scheduler.drop(group)
        else:
            if group in self.scheduler.prefilling:
                self._leave_staging(group)
            self._retire(group, [sequence for sequence in group.sequences if not sequence.retired])
        group.close(error)

    def _expire(self, group: Group) -> None:
        """End a request at its deadline: with the tokens generated so far, or with an error if there are none."""
        error = None
        if not beam_group.report(group):
            message = f"no token could be generated within timeout_s={group.request.timeout_s:g}"
            error = DeadlineError(message, param="timeout_s", retry_after_s=1)
        self.abandon(group, error)

    def shut_down(self, error: ApiError) -> None:
        """End every request with `error`, except that a list of prompts keeps the tokens generated so far."""
        for group in self.scheduler.groups():
            kept = group.mailbox.requests > 1 and beam_group.report(group)
            if not group.mailbox.patient:
                group.mailbox.error = error
            group.close(None if kept else error)
        self.bell.ring()

    def _prefill(self, groups: list[Group]) -> None:
        """Compute the next chunk of each prompt in one run of the model, which reads the weights once."""
        chunks = [self._next_chunk(group) for group in groups]
        began = time.perf_counter()
        try:
            logits = self._model.prefill(chunks)
        except Exception:
            if len(groups) > 1:  # one prompt may be the cause: try them one by one, so that only that one fails
                for group in groups:
                    self._prefill([group])
                return
            log.exception("prefill failed")
            self.abandon(groups[0], GenerationFailedError("computing the prompt failed"))
            return
        seconds = time.perf_counter() - began
        self.pace.saw_prefill(seconds, sum(len(chunk.ids) for chunk in chunks))
        self.telemetry.prefilled(seconds)
        first = 0
        for group, chunk in zip(groups, chunks, strict=True):
            rows = logits[first : first + len(chunk.ids) - chunk.wanted]
            first += len(rows)
            if error := attempt(self._prefilled, group, chunk, rows):
                self.abandon(group, error)

    def _next_chunk(self, group: Group) -> Chunk:
        request, start = group.request, group.prefilled
        ids = request.prompt[start : start + self._chunk]
        last = start + len(ids) == len(request.prompt)
        wanted = 0 if request.score_prompt else len(ids) - 1 if last else len(ids)
        return Chunk(group.staging, ids, start, wanted)

    def _prefilled(self, group: Group, chunk: Chunk, logits: Logits) -> None:
        request = group.request
        group.prefilled += len(chunk.ids)
        if request.score_prompt:
            following = request.prompt[chunk.start + 1 : chunk.start + 1 + len(chunk.ids)]
            for token, row in zip(following, logits, strict=False):
                group.prompt_scores.append(Token(token, 0, *group.sequences[0].score_prompt(row, token)))
        if group.prefilled == len(request.prompt):
            self._keep_prefix(group)
            self._begin(group, logits[-1])

    def _reuse_prefix(self, group: Group) -> None:
        if self._prefix is None or group.request.score_prompt:
            return
        for block in self._prefix.match(list(_keys(group.request, self._chunk))):
            self._cache.write(group.staging, group.prefilled, block)
            group.prefilled += self._chunk

    def _keep_prefix(self, group: Group) -> None:
        if self._prefix is None:
            return
        for number, key in enumerate(_keys(group.request, self._chunk)):
            if key not in self._prefix:
                start = number * self._chunk
                self._prefix.add(key, self._cache.read(group.staging, start, start + self._chunk))

    def _begin(self, group: Group, logits: Logits) -> None:
        """Choose the first token of every sequence; unfinished sequences join the batch with a copy of the cache row.

        Args:
            group: a group whose prompt has been prefilled.
            logits: logits after the last prompt token, [vocabulary].
        """
        request = group.request
        if request.score_prompt:
            group.mailbox.post(PromptScores(request.number, (Token(request.prompt[0], 0), *group.prompt_scores)))
        if request.length_penalty is not None and request.max_tokens:
            ends = group.sequences[0].ends
            group.search = BeamSearch(request.choices, request.max_tokens, request.length_penalty, ends)
            beam_group.advance(group, [logits] * request.choices)  # the loop below copies the prompt's cache to each
        else:
            for sequence in group.sequences:
                update = sequence.take(logits) if request.max_tokens else sequence.finish(LENGTH)
                if update is not None:
                    group.mailbox.post(update)
        now = time.monotonic()
        for sequence in group.sequences:
            sequence.count(now)
        self.telemetry.began(group.timeline, now, sum(one.generated for one in group.sequences))
        source = group.staging
        for sequence in group.sequences:
            if sequence.finish_reason is None:
                row = self.scheduler.join(group, sequence)
                self._cache.copy(source, row, sequence.length)
                source = row  # holds the same tokens in the batch's type, so the next copy need not convert
                if self._speculation is not None and group.search is None:
                    sequence.drafter = self._speculation.drafter(request.prompt)
                    sequence.drafter.push(sequence.last_token)
        self._leave_staging(group)
        self._retire(group, [sequence for sequence in group.sequences if sequence.finish_reason])

    def _drafts(self, running: list[Sequence]) -> list[list[int]]:
        """Return draft tokens for every running sequence; empty lists where there is no speculation."""
        drafters = [sequence.drafter for sequence in running if sequence.drafter is not None]
        if self._speculation is None or len(drafters) < len(running):
            return [[] for _ in running]
        return self._speculation.plan(drafters, [s.request.max_tokens - s.generated - 1 for s in running])

    def _decode(self) -> None:
        running = list(self.scheduler.running)
        owners = [self.scheduler.owner[sequence] for sequence in running]
        drafts = self._drafts(running)
        tokens = [[sequence.last_token, *draft] for sequence, draft in zip(running, drafts, strict=True)]
        began = time.perf_counter()
        try:
            logits = self._model.decode(tokens, [s.length for s in running])
        except Exception:
            log.exception("a decode step failed")
            for group in dict.fromkeys(owners):
                self.abandon(group, GenerationFailedError("a decode step failed"))
            return
        seconds = time.perf_counter() - began
        self.pace.saw_step(seconds)
        self._hand_out(running, owners, drafts, logits)
        if self._speculation is not None:
            # With the hand-out: an accepted token costs that, too.
            self._speculation.saw(len(running), len(logits), time.perf_counter() - began)
            self.telemetry.speculated(self._speculation.counted())
        now = time.monotonic()
        self.telemetry.stepped(seconds, [sequence.count(now) for sequence in running])
        for sequence, group in zip(reversed(running), reversed(owners), strict=True):
            if sequence.finish_reason and not sequence.retired:
                self._retire(group, [sequence])

    def _hand_out(self, running: list[Sequence], owners: list[Group], drafts: list[list[int]], logits: Logits) -> None:
        """Choose the next tokens of every running sequence, and post what can be reported.

        `logits` has one row for the last token of each sequence and one for each of its draft tokens, in the order of
        `running`.
        """
        failed: dict[Group, ApiError] = {}
        beams: dict[Group, dict[Sequence, Logits]] = {}
        drafted = len(logits) > len(running)
        tokens = [None] * len(running) if drafted else choose_ahead(running, owners, logits)
        first = 0
        for sequence, group, draft, token in zip(running, owners, drafts, tokens, strict=True):
            rows = logits[first : first + 1 + len(draft)]
            first += len(rows)
            if group.search is not None:
                beams.setdefault(group, {})[sequence] = rows[0]
            elif error := attempt(choose, sequence, group, draft, rows, token):
                failed[group] = error
        for group, of_beams in beams.items():
            if error := attempt(self._advance_beams, group, of_beams):
                failed[group] = error
        for group, reason in failed.items():
            self.abandon(group, reason)

    def _advance_beams(self, group: Group, logits: dict[Sequence, Logits]) -> None:
        """Advance the beam search of a group, and copy cache rows where a beam continues another."""
        for sequence in group.sequences:
            sequence.length += 1
        rows = {sequence: row for row, sequence in enumerate(self.scheduler.running)}
        for source, target in beam_group.advance(group, [logits[sequence] for sequence in group.sequences]):
            beams = group.sequences
            self._cache.copy(rows[beams[source]], rows[beams[target]], beams[source].length)

    def _leave_staging(self, group: Group) -> None:
        self._cache.release(group.staging)
        self.scheduler.leave_staging(group)

    def _retire(self, group: Group, sequences: list[Sequence]) -> None:
        """Remove sequences from the batch, highest row first, so that only remaining rows move into the gaps."""
        rows = {sequence: row for row, sequence in enumerate(self.scheduler.running)}
        lost: list[Group] = []
        for sequence in sorted(sequences, key=lambda one: rows.get(one, -1), reverse=True):
            sequence.retired = True
            move = self.scheduler.retire(group, sequence)
            if move is not None:
                try:
                    self._cache.copy(*move)
                except Exception:
                    log.exception("moving a row failed")
                    lost.append(self.scheduler.owner[self.scheduler.running[move.target]])
            if sequence in rows:
                self._cache.release(len(self.scheduler.running))
        for owner in dict.fromkeys(lost):
            self.abandon(owner, GenerationFailedError("moving a sequence failed"))
        if all(sequence.finish_reason for sequence in group.sequences):
            group.close()


def _keys(request: GenerationRequest, chunk: int) -> Iterator[bytes]:
    return chunk_keys(request.prompt, chunk, request.cache_salt)
