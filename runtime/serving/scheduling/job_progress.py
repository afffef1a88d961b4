"""What a step did for a job: parts of its prompt, tokens of its answer, its end."""

import numpy as np

from sala_compile.runtime.engine.chunk import SequenceChunk, StepResult
from sala_compile.runtime.serving.scheduling.likelihoods import likelihoods
from sala_compile.runtime.serving.scheduling.task import Task
from sala_compile.runtime.serving.work.event import End, Likelihood, PromptRead, TokenChosen


def read(task: Task, chunk: SequenceChunk, result: StepResult) -> bool:
    """Note a part of a text that was read; whether the call is done. Raises the step's error."""
    call = task.call
    assert call is not None
    call.done(result)
    if not chunk.generated:
        _tell_prompt(task, chunk, result)
    if call.left:
        return False
    call.close()
    task.call = None
    return True


def follow(task: Task, other: Task) -> None:
    """Note that another job has read the prompt."""
    task.read = len(task.prompt)
    task.of_prompt = [*other.of_prompt] if task.job.prompt_logprobs else []
    task.tell(PromptRead(task.read, task.of_prompt))


def choose(task: Task, result: StepResult | np.ndarray, context: int) -> End | None:
    """Note the next token of an answer; what ends it, if it is the last.

    The device chose it, or it is chosen from logits. ArtifactError if none can be.
    """
    if task.job.max_new_tokens == 0:
        return End.LENGTH
    if isinstance(result, StepResult) and result.tokens:
        event = task.choice.chosen(result.tokens[0].take())
    else:
        rows = result.logits if isinstance(result, StepResult) else result[None]
        assert rows is not None, "nothing was computed to choose from"
        event = task.choice.choose(rows[-1])
    task.token = event.token
    task.answer.append(event.token)
    task.tell(event)
    return _ending(task, event, context)


def _ending(task: Task, event: TokenChosen, context: int) -> End | None:
    """Why a token is the last of its answer."""
    job, count = task.job, len(task.answer)
    if event.token in job.ends and count > job.min_tokens:
        return End.END_TOKEN
    if task.choice.complete:
        return End.CONSTRAINT
    if count >= job.max_new_tokens:
        return End.LENGTH
    return End.CONTEXT if count > context - len(task.prompt) else None


def _tell_prompt(task: Task, chunk: SequenceChunk, result: StepResult) -> None:
    """Tell a part of the prompt, unless that was told before the job was preempted.

    The likelihood of the token after the part, which is known as well, is told with the next.
    """
    end, begin = chunk.state.length, task.read
    if end <= begin:
        return
    if task.job.prompt_logprobs and result.logits is not None:
        task.of_prompt += _likelihoods(task, end - len(chunk), result.logits)
    task.read = end
    task.tell(PromptRead(end, task.of_prompt[begin:end]))


def _likelihoods(task: Task, first: int, logits: np.ndarray) -> list[Likelihood | None]:
    """The likelihoods of the prompt's tokens that are not known yet.

    `logits` [tokens, vocabulary] are those after the tokens from number `first` on.
    """
    begin = max(len(task.of_prompt), 1)
    known: list[Likelihood | None] = [] if task.of_prompt else [None]
    tokens = task.prompt[begin : first + 1 + len(logits)].tolist()
    rows = logits[begin - 1 - first :][: len(tokens)]
    return [*known, *likelihoods(rows, tokens, task.job.logprobs or 0)]
