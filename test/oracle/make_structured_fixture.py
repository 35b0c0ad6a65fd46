"""Which bytes may come next, by llguidance: rewrites test/fixtures/structured/llguidance.json.

    pip install llguidance==1.9.1 numpy

The vocabulary is the 256 bytes and an end. For each format and each text: whether the text is whole, and before each byte, up to the first that is refused, the set of
bytes that may come, as 32 bytes in base64. Objects are closed and separators have their space, which is what of lib/structured's JSON both can write.
"""

import base64
import json
import pathlib

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

END = 256


class Bytes:
    """What TokenizerWrapper asks of a tokenizer."""

    eos_token_id = END
    bos_token_id = None
    tokens = [bytes([byte]) for byte in range(256)] + [b"</s>"]
    special_token_ids = [END]

    def __call__(self, text):
        return list(text.encode() if isinstance(text, str) else text)


def closed(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


PERSON = {
    **closed(name={"type": "string"}, age={"type": "integer", "minimum": 0, "maximum": 130}, tags={"type": "array", "items": {"enum": ["a", "bc"]}}),
    "required": ["name"],
}
TREE = {
    "$defs": {"tree": {**closed(v={"type": "integer"}, below={"type": "array", "items": {"$ref": "#/$defs/tree"}}), "required": ["v"]}},
    "$ref": "#/$defs/tree",
}
FORMATS = [
    ({"schema": {"type": "boolean"}}, ["true", "false", "truth", "null"]),
    ({"schema": {"type": "integer"}}, ["0", "-12", "007", "1.5", "-", "123456"]),
    ({"schema": {"type": "integer", "minimum": -12, "maximum": 105}}, ["-12", "-13", "105", "106", "99", "0", "100"]),
    ({"schema": {"type": "number"}}, ["0.5", "-3.25", "1.", "01", "12"]),
    ({"schema": {"type": "number", "minimum": 0, "maximum": 1}}, ["0.5", "1.01", "1.0", "0", "-0.1", "2"]),
    ({"schema": {"type": "string"}}, ['"a\\n\\"b"', '"é😀ﬀ"', '"\\', '"a\nb"', '"']),
    ({"schema": {"type": "string", "minLength": 2, "maxLength": 3}}, ['"ab"', '"a"', '"abcd"', '"é😀"']),
    ({"schema": {"type": "string", "pattern": "^[a-c]+[0-9]?$"}}, ['"abc1"', '"1"', '"a12"']),
    ({"schema": {"type": "string", "format": "date"}}, ['"2024-01-31"', '"2024-13-01"', '"2024-02-29"']),
    ({"schema": {"type": "string", "format": "uuid"}}, ['"123e4567-e89b-12d3-a456-426614174000"', '"123e4567e"']),
    ({"schema": {"type": "string", "format": "ipv4"}}, ['"192.168.0.255"', '"256.1.1.1"']),
    ({"schema": {"enum": ["red", "green", "reddish", 12, None]}}, ['"red"', '"reddish"', "12", "null", '"blue"']),
    ({"schema": {"const": "a\"b\\é"}}, ['"a\\"b\\\\é"', '"a"']),
    ({"schema": {"type": ["string", "null"]}}, ['"x"', "null", "1"]),
    ({"schema": {"anyOf": [{"type": "integer"}, {"type": "boolean"}, closed(a={"type": "null"})]}}, ["1", "true", '{"a": null}', "{}", '{"b": 1}']),
    ({"schema": PERSON}, ['{"name": "x", "age": 130, "tags": ["a", "bc"]}', '{"name": "x"}', '{"age": 3}', '{"name": "x", "tags": []}', '{"name": "x", "age": 131}', '{"name": "x", "other": 1}']),
    ({"schema": closed(a={"const": 1}, b={"const": 2}, c={"const": 3})}, ['{"a": 1, "c": 3}', "{}", '{"b": 2, "a": 1}', '{"c": 3}']),
    ({"schema": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3}}, ["[true]", "[]", "[true, false, true]", "[true, true, true, true]"]),
    ({"schema": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False, "minItems": 2}}, ["[1, null]", "[1]", "[1, null, 2]"]),
    ({"schema": TREE}, ['{"v": 1, "below": [{"v": 2, "below": []}, {"v": 3}]}', '{"below": []}']),
    ({"schema": {"allOf": [closed(a={"type": "integer", "minimum": 1}), {"properties": {"a": {"maximum": 5}}, "required": ["a"]}]}}, ['{"a": 5}', '{"a": 6}', "{}"]),
    ({"regex": "[A-Z][a-zé]{1,3}( [0-9]+)?"}, ["Abé 12", "Abcde", "a", "Ab "]),
    ({"regex": "(?:ab|a|b)*c?"}, ["ababc", "", "bc", "cc"]),
    ({"regex": "[^a-y]+|[a-f]{2}"}, ["zz", "aa", "é", "a"]),
    ({"regex": "[a-z_0-9]+@[a-z0-9]+\\.(com|org)"}, ["a_1@b.org", "@b.org", "a@b.net"]),
]
SEPARATORS = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def grammar(form):
    if "regex" in form:
        return LLMatcher.grammar_from_regex(form["regex"])
    return LLMatcher.grammar_from_json_schema(json.dumps({**form["schema"], "x-guidance": SEPARATORS}))


def walk(tokenizer, form, text):
    matcher = LLMatcher(tokenizer, grammar(form))
    assert not matcher.get_error(), (form, matcher.get_error())
    masks = []
    for byte in text.encode():
        mask = bytes(matcher.compute_bitmask())
        masks.append(base64.b64encode(mask[:32]).decode())
        if not mask[byte // 8] >> byte % 8 & 1:
            return {"text": text, "whole": False, "masks": masks}
        assert matcher.consume_token(byte)
    return {"text": text, "whole": matcher.is_accepting(), "masks": masks}


tokenizer = LLTokenizer(TokenizerWrapper(Bytes()), n_vocab=END + 1)
cases = [{**form, "texts": [walk(tokenizer, form, text) for text in texts]} for form, texts in FORMATS]
out = pathlib.Path(__file__).parent.parent / "fixtures/structured/llguidance.json"
out.parent.mkdir(exist_ok=True)
out.write_text("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]\n")
