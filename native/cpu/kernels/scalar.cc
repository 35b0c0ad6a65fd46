// The scalar table is the float reference, shipped.
#include "cpu/kernels/reference.h"

namespace llava {

void fill_scalar(KernelTable& table) {
  table.isa = "scalar";
  table.int8_mix = "scalar multiply-add";
  table.bf16 = Bf16::kNone;
  table.bf16_mix = "scalar multiply-add";
  reference::fill<float>(table);
}

}  // namespace llava
