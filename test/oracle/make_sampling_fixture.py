"""Writes test/fixtures/sampling/expected.json: logits, the ids before them, options, and the probabilities that transformers' processors leave.

usage: python3 test/oracle/make_sampling_fixture.py
"""

import json
import os

import torch
from transformers.generation import logits_process as hf

V = 24
OUT = os.path.join(os.path.dirname(__file__), '..', 'fixtures', 'sampling', 'expected.json')

CASES = [
    {}, {'temperature': 0.3}, {'temperature': 2.5},
    {'topK': 5}, {'topP': 0.6}, {'topP': 0.05}, {'topK': 8, 'topP': 0.7}, {'temperature': 1.7, 'topK': 8, 'topP': 0.7},
    {'minP': 0.1}, {'minP': 0.6}, {'temperature': 2, 'minP': 0.3}, {'temperature': 0.5, 'topP': 0.9, 'minP': 0.2},
    {'typicalP': 0.2}, {'typicalP': 0.5}, {'typicalP': 0.9}, {'temperature': 2, 'typicalP': 0.4}, {'topK': 9, 'typicalP': 0.7},
    {'temperature': 1.5, 'topK': 16, 'topP': 0.9, 'minP': 0.05, 'typicalP': 0.8},
    {'repetitionPenalty': 1.3}, {'repetitionPenalty': 0.8}, {'repetitionPenalty': 3, 'temperature': 0.7, 'topP': 0.8},
    {'noRepeatNgramSize': 1}, {'noRepeatNgramSize': 2}, {'noRepeatNgramSize': 3}, {'noRepeatNgramSize': 4},
    {'repetitionPenalty': 1.2, 'noRepeatNgramSize': 2, 'temperature': 1.3, 'topK': 12, 'minP': 0.02},
    {'logitBias': {'3': 4, '7': -5}}, {'logitBias': {'3': 1.5, '9': -2}, 'repetitionPenalty': 2, 'temperature': 0.8, 'topP': 0.9},
]


def processors(options: dict) -> hf.LogitsProcessorList:
    """In the order of GenerationMixin._get_logits_processor."""
    steps = hf.LogitsProcessorList()
    if 'logitBias' in options:
        steps.append(hf.SequenceBiasLogitsProcessor({(int(id),): float(bias) for id, bias in options['logitBias'].items()}))
    if 'repetitionPenalty' in options:
        steps.append(hf.RepetitionPenaltyLogitsProcessor(float(options['repetitionPenalty'])))
    if 'noRepeatNgramSize' in options:
        steps.append(hf.NoRepeatNGramLogitsProcessor(options['noRepeatNgramSize']))
    if 'temperature' in options:
        steps.append(hf.TemperatureLogitsWarper(float(options['temperature'])))
    if 'topK' in options:
        steps.append(hf.TopKLogitsWarper(options['topK']))
    if 'topP' in options:
        steps.append(hf.TopPLogitsWarper(options['topP']))
    if 'minP' in options:
        steps.append(hf.MinPLogitsWarper(options['minP']))
    if 'typicalP' in options:
        steps.append(hf.TypicalLogitsWarper(mass=options['typicalP']))
    return steps


def floats(values: torch.Tensor) -> list:
    """float32, in as many digits as it takes."""
    return [float(f'{value:.9g}') for value in values.tolist()]


def main():
    generator = torch.Generator().manual_seed(20)
    cases = []
    for options in CASES:
        for history in ([], [3, 9, 3], [5, 1, 7, 5, 1, 9, 5, 1]):
            logits = 2.5 * torch.randn(1, V, generator=generator)
            scores = processors(options)(torch.tensor([history], dtype=torch.long), logits.clone())
            probabilities = torch.softmax(scores, dim=-1)
            cases.append({'options': options, 'ids': history, 'logits': floats(logits[0]), 'probabilities': floats(probabilities[0])})
    logits = 2.5 * torch.randn(V, generator=generator)
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, 'w') as file:
        json.dump({'cases': cases, 'logits': floats(logits), 'logSoftmax': floats(torch.log_softmax(logits, -1))}, file)
        file.write('\n')


if __name__ == '__main__':
    main()
