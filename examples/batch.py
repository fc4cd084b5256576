"""Answers a file of requests; called again, it goes on: python examples/batch.py MODEL requests.jsonl answers.jsonl."""

import json
import sys

from tqdm import tqdm

from QEfficient import QEFFAutoModelForCausalLM, errors


def read(path):
    """Requests by their ids."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                request = json.loads(line)
                if found.setdefault(request.pop("id"), request) is not request or "prompt" not in request:
                    raise ValueError("it has no prompt, or the id of another line")
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                sys.exit(f"{path}, line {number} is no request: {error!r}")
    return found


def answered(path):
    """Ids that have an answer. A line that a crash has torn is cut off; errors are tried again."""
    with open(path, "a+b") as file:
        file.seek(0)
        *lines, torn = file.read().split(b"\n")
        file.truncate(file.tell() - len(torn))
    return {line["id"] for line in map(json.loads, lines) if "error" not in line}


def answer(model, waiting):
    """A line for each request, as they end."""
    under_way = []
    while waiting or under_way:
        while waiting and len(under_way) < 32:  # more than the model has slots: none is ever free
            name, request = waiting.pop(0)
            try:
                under_way.append((name, model.stream([{"role": "user", "content": request.pop("prompt")}], **request)))
            except errors.QEfficientError as error:  # too long, or a setting that there is not: the others go on
                yield {"id": name, "error": str(error)}
        for _, stream in under_way[:1]:
            next(stream, None)  # who waits for one answer makes all go on
        for name, stream in [one for one in under_way if one[1].reason]:
            under_way.remove((name, stream))
            yield {"id": name, "text": stream.text + "".join(stream), "reason": stream.reason}


if __name__ == "__main__":
    name, source, target = sys.argv[1:] if len(sys.argv) == 4 else sys.exit(__doc__)
    requests, done = read(source), answered(target)
    left = [(one, request) for one, request in requests.items() if one not in done]
    model = QEFFAutoModelForCausalLM.from_pretrained(name)
    model.compile()
    with open(target, "a", encoding="utf-8") as file:
        for line in tqdm(answer(model, left), total=len(left), disable=None):
            print(json.dumps(line, ensure_ascii=False), file=file, flush=True)
