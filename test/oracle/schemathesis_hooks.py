"""What schemathesis has to be told of this server (SCHEMATHESIS_HOOKS)."""

import json

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """As in OpenAI's own document, the schema of an event stream is the one of the JSON in each event's data, but for the last one's."""
    for operations in raw_schema['paths'].values():
        for operation in operations.values():
            for response in operation['responses'].values():
                events = response.get('content', {}).get('text/event-stream')
                if events is not None:
                    data = {'type': 'string', 'contentMediaType': 'application/json', 'contentSchema': events.pop('schema')}
                    data = {'anyOf': [{'const': '[DONE]'}, data]}
                    events['itemSchema'] = {'type': 'object', 'properties': {'data': data}, 'required': ['data']}


@schemathesis.hook
def before_call(context, case, kwargs):
    """A model's name that it makes up is none that is served: asks the one that is, so that requests reach it."""
    if isinstance(case.body, dict) and isinstance(case.body.get('model'), str):
        case.body['model'] = 'default'


@schemathesis.deserializer('application/x-ndjson')
def first_line(context, response):
    return json.loads(response.content.split(b'\n')[0])
