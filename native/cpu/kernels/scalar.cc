// The scalar table is the float reference, shipped.
#include "cpu/kernels/reference.h"

namespace llava {

void fill_scalar(KernelTable& table) {
  table.isa = "scalar";
  table.int8_mix = "scalar multiply-add";
  table.multiplies_bf16 = false;
  reference::fill<float>(table);
}

}  // namespace llava
