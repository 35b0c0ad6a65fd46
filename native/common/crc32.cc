#include "common/crc32.h"

#include <array>
#include <bit>
#include <cstring>

namespace llava {

namespace {

constexpr uint32_t kPolynomial = 0xEDB88320u;

using Tables = std::array<std::array<uint32_t, 256>, 8>;

// tables[k][b]: what byte b does to the checksum when k more bytes follow it.
constexpr Tables make_tables() {
  Tables tables{};
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? crc >> 1 ^ kPolynomial : crc >> 1;
    tables[0][b] = crc;
  }
  for (uint32_t b = 0; b < 256; b++) {
    for (size_t k = 1; k < 8; k++) tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
  }
  return tables;
}
constexpr Tables kTables = make_tables();

// A linear map of checksums: column i is where bit i goes.
using Map = std::array<uint32_t, 32>;

uint32_t mapped(const Map& map, uint32_t crc) {
  uint32_t sum = 0;
  for (; crc != 0; crc &= crc - 1) sum ^= map[static_cast<size_t>(std::countr_zero(crc))];
  return sum;
}

Map twice(const Map& map) {
  Map square;
  for (size_t i = 0; i < 32; i++) square[i] = mapped(map, map[i]);
  return square;
}

}  // namespace

uint32_t crc32(uint32_t crc, const std::byte* data, size_t nbytes) noexcept {
  crc = ~crc;
  for (; nbytes >= 8; nbytes -= 8, data += 8) {
    uint32_t low, high;  // little-endian, as every platform this is built for
    std::memcpy(&low, data, 4);
    std::memcpy(&high, data + 4, 4);
    low ^= crc;
    crc = 0;
    for (size_t k = 0; k < 4; k++) crc ^= kTables[7 - k][low >> 8 * k & 255] ^ kTables[3 - k][high >> 8 * k & 255];
  }
  for (; nbytes > 0; nbytes--, data++) crc = crc >> 8 ^ kTables[0][(crc ^ static_cast<uint32_t>(*data)) & 255];
  return ~crc;
}

// The first part's checksum goes through as many zero bytes as the second part has: the map of one zero bit, raised to
// 8 * nbytes by squaring.
uint32_t crc32_joined(uint32_t first, uint32_t second, uint64_t second_nbytes) noexcept {
  Map map;
  map[0] = kPolynomial;
  for (size_t i = 1; i < 32; i++) map[i] = 1u << (i - 1);
  map = twice(twice(twice(map)));  // one byte
  for (; second_nbytes != 0; second_nbytes >>= 1, map = twice(map)) {
    if ((second_nbytes & 1) != 0) first = mapped(map, first);
  }
  return first ^ second;
}

}  // namespace llava
