"""What is wrong with a job that can never run."""

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.serving.scheduling.token_choice import TokenChoice
from sala_compile.runtime.serving.work.job import Job


def check_job(engine: Engine, job: Job) -> None:
    """From any thread: the errors for which a job can never run; its prompt becomes int32.

    RequestError for ids that are no tokens, a prompt beyond the context, or impossible options;
    MemoryBudgetError for a prompt that would not fit if it were alone.
    """
    job.prompt = engine.limits.checked_tokens(job.prompt, 0)
    counts = {"max_new_tokens": job.max_new_tokens, "min_tokens": job.min_tokens}
    for name, count in {**counts, "logprobs": job.logprobs or 0}.items():
        if count < 0:
            raise RequestError(f"{name} is {count}", where=name, expected="0 or more")
    TokenChoice(job, engine.limits.vocabulary, engine.stepper)
    for name, rows in engine.admission.call(None, len(job.prompt)).rows.items():
        pool = engine.store.pool(name)
        if rows > pool.count:
            raise MemoryBudgetError(
                f"a prompt of {len(job.prompt)} tokens needs {rows} {name}",
                expected=f"at most {pool.count}, which is all of them",
                fix="shorten the prompt, or give more memory",
            )
