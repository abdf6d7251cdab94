"""A language model behind an address, played by a server that answers as told: well, badly, late or not at all."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tests.generate.clips import disc

pytest.importorskip("openai", reason="needs the 'generate' extra")

from dimo_ns.errors import DimoError
from dimo_ns.generate import prompts
from dimo_ns.generate.endpoint import KEY, endpoint
from dimo_ns.generate.prompts import SUFFIX

PICTURE = disc(48, 48, 20)


class Server:
    """Answers request n with answers[n], the last one from then on: (status, text of the message or raw body)."""

    def __init__(self):
        self.requests: list[dict] = []
        self.answers: list[tuple[int, str]] = []
        self.delay_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append({**body, "key": self.headers["Authorization"], "path": self.path})
                status, text = outer.answers[min(len(outer.requests), len(outer.answers)) - 1]
                time.sleep(outer.delay_s)
                message = {"role": "assistant", "content": text}
                choices = [{"index": 0, "finish_reason": "stop", "message": message}]
                reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
                content = (json.dumps(reply) if status == 200 and not text.startswith("RAW") else text[3:]).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.send_header("Retry-After-Ms", "5")
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # the client gave up

            def log_message(self, *_): ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.01)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def listed(*labels: str) -> tuple[int, str]:
    rows = [{"label": label, "prompt": f"The fox {label}."} for label in labels]
    return 200, json.dumps({"caption": "a fox", "motions": rows})


def asked(server: Server, count: int, **more) -> list[str]:
    return [m.label for m in prompts.ask(endpoint(server.url, "m", PICTURE, **more), count, "a fox")]


def test_the_picture_goes_along_and_json_is_asked_for(server, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    server.answers = [listed("walks", "jumps")]
    (first, _) = prompts.ask(endpoint(server.url, "m", PICTURE), 2, "a fox")
    assert first.prompt == f"The fox walks. {SUFFIX}"
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == "Bearer secret"
    assert request["model"] == "m"
    assert request["response_format"] == {"type": "json_object"}
    text, image = request["messages"][1]["content"]
    assert text["text"] == "The object is a fox. Write 2 motions of it."
    data = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), PICTURE)


def test_it_is_asked_again_for_what_is_missing_and_told_what_there_is(server):
    server.answers = [listed("walks", "Walks.", "jumps"), listed("jumps", "the walks"), listed("sits", "rolls over")]
    assert asked(server, 4) == ["walks", "jumps", "sits", "rolls over"]
    assert (
        "Write 2 motions of it. Not these again:\n- walks\n- jumps"
        in server.requests[1]["messages"][1]["content"][0]["text"]
    )
    assert len(server.requests) == 3


def test_fifty_are_asked_for_in_twenties(server):
    server.answers = [listed(*(f"does number {i}" for i in range(20 * n, 20 * n + 20))) for n in range(3)]
    assert len(asked(server, 50)) == 50
    texts = [request["messages"][1]["content"][0]["text"] for request in server.requests]
    assert ["Write 20 " in texts[0], "Write 20 " in texts[1], "Write 10 " in texts[2]] == [True] * 3


@pytest.mark.parametrize("answer", ["```json\n{}\n```", "Here it is:\n{}", "{}"])
def test_json_in_a_fence_or_after_a_greeting_is_read(server, answer):
    server.answers = [(200, answer.replace("{}", listed("walks")[1]))]
    assert asked(server, 1) == ["walks"]


def test_rows_that_are_no_motions_are_left_out_and_fewer_are_better_than_none(server):
    rows = [{"label": "walks"}, {"label": 3}, "jumps", {"prompt": "x"}, {"label": " "}]
    server.answers = [(200, json.dumps({"motions": rows}))]
    assert asked(server, 5) == ["walks"]
    assert len(server.requests) == 1 + prompts.TRIES


WRONG = "does not speak OpenAI's language|did not give motions"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("I cannot do that.", "no list of motions in 'I cannot"),
        ('{"motions": [', "did not give motions"),
        ('{"motions": "walks"}', "no list of motions"),
        ('{"motions": []}', "have no labels"),
        ("", "did not give motions"),
        ("RAW<html>", WRONG),
        ("RAW{}", "did not give motions"),
        *(
            (f'RAW{{"choices": {choices}}}', WRONG)
            for choices in (
                "3",
                '"x"',
                "{}",
                "[]",
                "[3]",
                "[null]",
                '[{"message": null}]',
                '[{"message": {"content": ["{}"]}}]',
                '[{"message": {"content": {"text": "x"}}}]',
                '[{"message": {"content": 7}}]',
            )
        ),
    ],
)
def test_garbage_is_refused_after_some_tries(server, text, complaint):
    server.answers = [(200, text)]
    with pytest.raises(DimoError, match=complaint):
        asked(server, 3)
    assert len(server.requests) <= prompts.TRIES


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server, status):
    server.answers = [(status, "RAW{}"), (status, "RAW{}"), listed("walks")]
    assert asked(server, 1) == ["walks"]
    assert len(server.requests) == 3
    server.answers, server.requests = [(status, 'RAW{"error": {"message": "too much"}}')], []
    with pytest.raises(DimoError, match=f"answers {status} in 3 tries: .*too much"):
        asked(server, 1, retries=2)
    assert len(server.requests) == 3


def test_what_asking_again_does_not_mend_is_said_at_once(server):
    cases: dict[int, str] = {401: f"wants a key .* put it in {KEY}", 403: "wants a key", 404: "answers 404: "}
    for status, complaint in cases.items():
        server.answers, server.requests = [(status, 'RAW{"error": {"message": "no"}}')], []
        with pytest.raises(DimoError, match=complaint):
            asked(server, 1)
        assert len(server.requests) == 1


def test_a_server_that_is_late_or_not_there_is_said(server):
    server.answers, server.delay_s = [listed("walks")], 0.4
    with pytest.raises(DimoError, match=r"did not answer within 0.1 s, 2 times"):
        asked(server, 1, timeout_s=0.1, retries=1)
    ask: Callable = endpoint("http://127.0.0.1:9/v1", "m", PICTURE, retries=0)
    with pytest.raises(DimoError, match="cannot be reached"):
        ask("a", "b")


def test_a_model_is_asked_once_whatever_happens_to_the_run(server, tmp_path):
    from dimo_ns.generate.image import Picture
    from dimo_ns.generate.items import Items
    from dimo_ns.generate.start import Words, motions_of

    server.answers = [listed("walks", "jumps")]
    rgba = np.dstack([PICTURE, np.where(PICTURE[..., 2] < 200, 255, 0).astype(np.uint8)])
    words = Words(2, "a fox", endpoint=server.url, model="m")
    first = motions_of(words, Picture(rgba, ()), Items(tmp_path))
    assert motions_of(words, Picture(rgba, ()), Items(tmp_path)) == first
    assert len(server.requests) == 1


def test_a_local_model_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("transformers", reason="needs the 'generate' extra")
    from dimo_ns.generate.endpoint import local

    with pytest.raises(DimoError, match=r"cannot be loaded .*hf download"):
        local(str(tmp_path), PICTURE, "cpu")


def test_a_local_model_looks_answers_and_is_refused_for_nonsense(tmp_path):
    """A tiny Llava of random weights, saved as the published ones are: it babbles."""
    pytest.importorskip("transformers", reason="needs the 'generate' extra")
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from dimo_ns.generate.endpoint import local
    from tests.generate.tiny_pipelines import tokenizer

    words = tokenizer(512)
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    image = words.convert_tokens_to_ids("<image>")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    seeing = CLIPVisionConfig(**sizes, num_hidden_layers=2, image_size=32, patch_size=16, projection_dim=16)
    writing = LlamaConfig(**sizes, vocab_size=64, num_hidden_layers=1, bos_token_id=1, eos_token_id=1, pad_token_id=0)
    torch.manual_seed(0)
    config = LlavaConfig(vision_config=seeing, text_config=writing, image_token_index=image)
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    template = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}"
    )
    looking = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        image_processor=looking, tokenizer=words, patch_size=16, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1, chat_template=template,
    ).save_pretrained(tmp_path)  # fmt: skip
    model = local(str(tmp_path), PICTURE, "cpu", new_tokens=6)
    said = model("the system", "a fox walks")
    assert isinstance(said, str)
    assert said == model("the system", "a fox walks")
    with pytest.raises(DimoError, match="did not give motions"):
        prompts.ask(model, 2)
