# node-gyp reads this file; CMakeLists.txt is its twin. Both take sources, defines and flags from native/sources.gypi.
#   llava_native   the addon: build/Release/llava_native.node
#   llava_testing  the addon of the tests, never shipped: build/testing/llava_testing.node, with -Dllava_testing=1
#   llava_device  a back end in a library of its own, for the tests: build/testing/llava_device.so, with it on Linux
#   allocation_probe  what tests preload to see allocations, and to make them fail: build/testing/allocation_probe.so, with it on Linux
# No file has flags of its own: code for one instruction set stands in a target region of its source.
# -fno-schedule-insns: GCC's scheduling before register allocation (its default for AArch64 alone) takes tiles apart that fit the registers.
{
  "includes": ["native/sources.gypi"],
  "variables": { "llava_testing%": 0 },
  "target_defaults": {
    "include_dirs": ["native"],
    "defines": ["<@(llava_defines)", "NAPI_CPP_EXCEPTIONS", "NODE_ADDON_API_CPP_EXCEPTIONS_ALL", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
    "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
    "cflags!": ["-O2"],
    "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-exceptions", "-fno-rtti"],
    "cflags_cc": ["<@(llava_compile_flags)"],
    "conditions": [
      ["OS=='linux'", {
        "cflags_cc": ["-include", "<(module_root_dir)/native/common/glibc_floor.h"]
      }]
    ],
    "target_conditions": [
      ["OS=='linux' and _type=='loadable_module'", {
        "ldflags": ["-pthread", "-Wl,--gc-sections", "-Wl,--version-script=<(module_root_dir)/native/binding/exports.map"]
      }]
    ]
  },
  "targets": [
    { "target_name": "llava_core", "type": "static_library", "sources": ["<@(llava_core_sources)"] },
    { "target_name": "llava_native", "dependencies": ["llava_core"], "sources": ["<@(llava_addon_sources)"] }
  ],
  "conditions": [
    ["llava_testing==1", {
      "targets": [
        { "target_name": "llava_testing", "product_dir": "<(module_root_dir)/build/testing", "dependencies": ["llava_core"],
          "sources": ["<@(llava_testing_sources)"] }
      ],
      "conditions": [
        ["OS=='linux'", {
          "targets": [
            { "target_name": "allocation_probe", "type": "shared_library", "product_dir": "<(module_root_dir)/build/testing", "product_prefix": "",
              "cflags_cc!": ["-include", "<(module_root_dir)/native/common/glibc_floor.h"], "sources": ["<@(llava_probe_sources)"], "libraries": ["-ldl"] },
            { "target_name": "llava_device", "type": "shared_library", "product_dir": "<(module_root_dir)/build/testing", "product_prefix": "",
              "dependencies": ["llava_core"], "sources": ["<@(llava_device_library_sources)"],
              "ldflags": ["-pthread", "-Wl,--gc-sections", "-Wl,--version-script=<(module_root_dir)/native/ops/backend_library.map"] }
          ]
        }]
      ]
    }]
  ]
}
