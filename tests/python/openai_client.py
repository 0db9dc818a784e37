"""The official client against one node: whole answers, streams, errors. Usage: openai_client.py URL MODEL"""

import sys

import openai

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=30)
messages = [{"role": "user", "content": "Say something"}]

names = [listed.id for listed in client.models.list()]
assert model in names, names

whole = client.chat.completions.create(model=model, messages=messages, max_tokens=12)
assert whole.choices[0].finish_reason in ("length", "stop"), whole
assert whole.usage.completion_tokens == 12, whole.usage
text = whole.choices[0].message.content
assert "simulated" in text, text

stream = client.chat.completions.create(
    model=model, messages=messages, max_tokens=12, stream=True, stream_options={"include_usage": True}
)
pieces, usage = [], None
for chunk in stream:
    usage = chunk.usage or usage
    pieces += [choice.delta.content or "" for choice in chunk.choices]
assert "".join(pieces) == text, (pieces, text)
assert usage.completion_tokens == 12, usage

completion = client.completions.create(model=model, prompt="Once", max_tokens=5)
assert completion.choices[0].text, completion

embedding = client.embeddings.create(model=model, input="a text")
assert len(embedding.data[0].embedding) > 0, embedding

response = client.responses.create(model=model, input="Say something", max_output_tokens=12)
assert response.output_text == text, (response, text)
events = list(client.responses.create(model=model, input="Say something", max_output_tokens=12, stream=True))
said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
assert said == text, (said, text)
assert events[-1].response.output_text == text, events[-1]

try:
    client.chat.completions.create(model="no-such-model", messages=messages)
    raise SystemExit("an unknown model was served")
except openai.NotFoundError as error:
    assert error.code == "model_not_found", error

try:
    client.chat.completions.create(model=model, messages="not a list")
    raise SystemExit("a malformed request was served")
except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
    assert error.body["message"], error

print(f"openai {openai.__version__}: models, chat, streams, responses, completion, embedding and errors are as expected")
