// Attention of many rows that all see the same positions, as those of a picture do, by products on tiles of bf16 (two
// terms each, as of float32: kernels.def). Spans and their softmax are those of attention.cc.
#pragma once
#include "cpu/attention_block.h"

namespace llava::cpu {

constexpr int64_t kTiledQueryRows = 320;  // of a task: [rows, kSpan] of scores and as many weights in L2

// Scratch of a task of so many rows.
uint64_t tile_scratch_bytes(int64_t rows, int64_t head_dim);

// most_rows: those that the scratch is for.
void attend_by_tiles(const KernelTable& kernels, const Block& block, int64_t most_rows, std::byte* scratch);

}  // namespace llava::cpu
