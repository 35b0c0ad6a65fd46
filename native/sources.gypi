{
  "variables": {
    "llava_core_sources": [
      "native/common/mapped_file.cc",
      "native/common/thread_pool.cc",
      "native/common/cpu_features.cc",
      "native/common/arena.cc",
      "native/common/crc32.cc",
      "native/common/file_reader.cc",
      "native/common/quantise.cc",
      "native/cpu/backend.cc",
      "native/cpu/linear.cc",
      "native/cpu/attention.cc",
      "native/cpu/patch_embed.cc",
      "native/cpu/norm.cc",
      "native/cpu/rope.cc",
      "native/cpu/elementwise.cc",
      "native/cpu/rows.cc",
      "native/cpu/kernels/table.cc",
      "native/cpu/kernels/scalar.cc",
      "native/cpu/kernels/avx2.cc",
      "native/cpu/kernels/avx512.cc",
      "native/model/weights.cc",
      "native/model/passes.cc",
      "native/model/vision_tower.cc",
      "native/model/text_tower.cc",
      "native/model/projector.cc",
      "native/model/decoder.cc",
      "native/model/kv_cache.cc",
      "native/model/llava.cc",
      "native/model/clip.cc",
      "native/model/conversion.cc",
      "native/binding/model_wrap.cc",
      "native/binding/clip_wrap.cc",
      "native/binding/conversion_wrap.cc",
      "native/binding/sequence_wrap.cc",
      "native/binding/features_wrap.cc",
      "native/binding/runner.cc",
      "native/binding/convert.cc"
    ],
    "llava_addon_sources": [
      "native/binding/addon.cc"
    ],
    "llava_testing_sources": [
      "native/testing/conformance.cc",
      "native/testing/weights.cc",
      "native/testing/kernel_cases.cc",
      "native/testing/op_cases.cc",
      "native/testing/testing_addon.cc"
    ],
    "llava_probe_sources": [
      "native/testing/allocation_probe.cc"
    ],
    "llava_defines": [
      "NAPI_VERSION=8"
    ],
    "llava_compile_flags": [
      "-std=c++20",
      "-O3",
      "-Wall",
      "-Wextra",
      "-Wno-maybe-uninitialized",
      "-Wno-uninitialized",
      "-Wno-unknown-warning-option",
      "-Wno-missing-field-initializers",
      "-fPIC",
      "-fexceptions",
      "-fvisibility=hidden",
      "-fvisibility-inlines-hidden",
      "-ffunction-sections",
      "-fdata-sections",
      "-ffp-contract=off"
    ]
  }
}
