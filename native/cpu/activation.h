// The kernel of an activation, chosen once before a loop.
#pragma once
#include "cpu/kernels/table.h"
#include "ops/args.h"

namespace llava::cpu {

using ActivationKernel = decltype(KernelTable::gelu);

// Null for none.
inline ActivationKernel activation_kernel(const KernelTable& k, Activation activation) {
  switch (activation) {
    case Activation::kNone: return nullptr;
    case Activation::kQuickGelu: return k.quick_gelu;
    case Activation::kGelu: return k.gelu;
    case Activation::kGeluTanh: return k.gelu_tanh;
  }
  return nullptr;
}

}  // namespace llava::cpu
