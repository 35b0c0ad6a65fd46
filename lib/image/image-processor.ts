// What a checkpoint says about its pictures: the numbers of CLIPImageProcessor, LlavaImageProcessor and SiglipImageProcessor, by other names.

/**
 * How a picture is made square. `pad`: a canvas in the mean colour, nothing is lost; `crop`: the middle square, the ends of long pictures are lost;
 * `stretch`: each side is resized by itself, nothing is lost but the proportions.
 */
export type ImageAspectRatio = 'pad' | 'crop' | 'stretch'

/** From an RGB picture to pixel_values [3, S, S]. Channels are in R, G, B order. */
export interface ImageProcessorSpec {
  /** S: side of the square the vision tower takes (`crop_size`). */
  readonly imageSize: number
  readonly aspectRatio: ImageAspectRatio
  readonly mean: readonly [number, number, number]
  readonly std: readonly [number, number, number]
  /** What 8-bit values are multiplied by before mean and std: 1/255. */
  readonly rescaleFactor: number
  /** Length the shorter edge is resized to before the centre crop (`size.shortest_edge`), usually S; where pictures are stretched, S always. */
  readonly shortestEdge: number
}
