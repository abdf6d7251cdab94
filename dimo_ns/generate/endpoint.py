"""Language models that look at the picture: behind an OpenAI-compatible address, or on this machine."""

import base64
import io
import os
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dimo_ns.errors import DimoError, needs
from dimo_ns.generate.prompts import Ask

KEY = "OPENAI_API_KEY"
SIDE = 512
"""The larger side of the picture that goes along, in pixels."""


def endpoint(
    url: str, model: str, picture: UInt8[np.ndarray, "h w 3"], timeout_s: float = 120.0, retries: int = 4
) -> Ask:
    """Asks an OpenAI-compatible address; the key, if it wants one, is in OPENAI_API_KEY. It is asked again, ever more
    slowly, when it answers 429 or 5xx or not at all; then the calls raise DimoError."""
    with needs("generate", "An endpoint"):
        import openai
    client = openai.OpenAI(base_url=url, api_key=os.environ.get(KEY) or "none", timeout=timeout_s, max_retries=retries)
    image = {"type": "image_url", "image_url": {"url": data_url(picture)}}

    def answer(system: str, user: str) -> str:
        try:
            reply = client.chat.completions.create(
                model=model,
                messages=[
                    {"role": "system", "content": system},
                    {"role": "user", "content": [{"type": "text", "text": user}, image]},  # pyright: ignore
                ],
                response_format={"type": "json_object"},
            )
            choices = getattr(reply, "choices", None)
            text = choices[0].message.content if choices else ""
            return text if isinstance(text, str) else ""
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise DimoError(f"The endpoint {url} wants a key ({error.status_code}); put it in {KEY}.") from error
        except openai.APITimeoutError as error:
            raise DimoError(
                f"The endpoint {url} did not answer within {timeout_s:g} s, {retries + 1} times."
            ) from error
        except openai.APIConnectionError as error:
            raise DimoError(f"The endpoint {url} cannot be reached ({error.__cause__ or error}).") from error
        except openai.APIStatusError as error:
            text = " ".join(str(error.message).split())[:120]
            tried = (
                f" in {retries + 1} tries" if error.status_code in (408, 409, 429) or error.status_code >= 500 else ""
            )
            raise DimoError(f"The endpoint {url} answers {error.status_code}{tried}: {text}.") from error
        except (openai.OpenAIError, ValueError, AttributeError, TypeError, IndexError) as error:
            raise DimoError(f"The endpoint {url} does not speak OpenAI's language: {error}.") from error

    return answer


def data_url(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """The picture as a PNG in an address."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def local(name: str, picture: UInt8[np.ndarray, "h w 3"], device: str, new_tokens: int = 4096) -> Ask:
    """Asks a model of transformers that sees and writes, for example Qwen/Qwen3-VL-4B-Instruct: a folder, or the name
    of one that was downloaded. Safetensors only, no code of the model's own. Raises DimoError if it is not there."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model: Any
    try:
        processor = AutoProcessor.from_pretrained(name, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(
            name, local_files_only=True, use_safetensors=True, dtype=torch.bfloat16
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DimoError(
            f"The language model {name} cannot be loaded ({reason}); get it with 'hf download {name}'."
        ) from error
    model = model.to(device).eval()
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)

    def answer(system: str, user: str) -> str:
        messages = [
            {"role": "system", "content": [{"type": "text", "text": system}]},
            {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": user}]},
        ]
        inputs = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        ).to(device, torch.bfloat16)
        torch.manual_seed(len(user))
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=True)
        return processor.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]

    return answer
