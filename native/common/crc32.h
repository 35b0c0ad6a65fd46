// CRC-32 as zlib and zip compute it (reflected polynomial 0xEDB88320), eight bytes at a time, and of two parts put
// together.
#pragma once
#include <cstddef>
#include <cstdint>

namespace llava {

// Continues `crc`, 0 at the start of the data.
uint32_t crc32(uint32_t crc, const std::byte* data, size_t nbytes) noexcept;

// Of two stretches of data one after the other, from their own checksums.
uint32_t crc32_joined(uint32_t first, uint32_t second, uint64_t second_nbytes) noexcept;

}  // namespace llava
