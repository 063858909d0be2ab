"""Known colours in, known colours out, for every kind of file."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from ganfeat.data.decode import UnreadableImageError, decode_image, quiet_pillow, read_header
from ganfeat.data.resize import convert_channels
from ganfeat.errors import RunError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def colour(content, channels=3, size=4):
    """The one colour of a plain image."""
    pixels = decode_image(content, size, channels)
    assert pixels.shape == (size, size, channels)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[0, 0]).all()
    return tuple(pixels[0, 0].tolist())


def png_of_size(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_lossless_formats_give_back_rgb(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(Image.new("RGB", (4, 4), (10, 200, 60)), kind, **options)
    assert colour(content) == (10, 200, 60)


def test_jpeg_is_close():
    assert np.abs(np.subtract(colour(encode(Image.new("RGB", (16, 16), RED), "JPEG"), size=16), RED)).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_red_is_red(kind):
    red = colour(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind), size=16)
    assert np.abs(np.subtract(red, RED)).max() <= 2


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (32767, 127), (32768, 128), (65535, 255), (257, 1)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_divided_by_257(value, expected, kind):
    content = encode(Image.fromarray(np.full((4, 4), value, np.uint16)), kind)
    assert colour(content, 1) == (expected,)
    assert colour(content, 3) == (expected,) * 3
    assert read_header(content).grey


def test_big_endian_and_32_bit_integer_tiff():
    big = Image.fromarray(np.full((4, 4), 32768, ">u2"))
    assert big.mode == "I;16B"
    assert colour(encode(big, "TIFF"), 1) == (128,)
    assert colour(encode(Image.fromarray(np.full((4, 4), 32768, np.int32)), "TIFF"), 1) == (128,)
    for value in (-1, 65536):
        with pytest.raises(UnreadableImageError, match="8 or 16 bits"):
            decode_image(encode(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF"), 4, 1)


def test_float_tiff_in_0_1_or_0_255():
    def tiff(values):
        return encode(Image.fromarray(np.array(values, np.float32).repeat(4).reshape(2, 4)), "TIFF")

    assert decode_image(tiff([0, 1]), 2, 1).ravel().tolist() == [0, 0, 255, 255]
    assert decode_image(tiff([0, 200]), 2, 1).ravel().tolist() == [0, 0, 200, 200]
    for wrong in ([0, np.nan], [-1, 0], [0, 256], [0, np.inf]):
        with pytest.raises(UnreadableImageError, match="float pixels"):
            decode_image(tiff(wrong), 2, 1)


def test_palette_and_its_transparency_on_white():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert colour(encode(image)) == RED
    image.paste(1, (0, 0, 4, 2))
    for kind in ("PNG", "GIF"):
        pixels = decode_image(encode(image, kind, transparency=1), 4, 3)
        assert (pixels[:2] == WHITE).all()
        assert (pixels[2:] == RED).all()
    half = decode_image(encode(image, "PNG", transparency=bytes([255, 128])), 4, 3)
    assert np.abs(half[0, 0].astype(int) - (127, 127, 255)).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert colour(encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), kind, **options)) == WHITE
    assert colour(encode(Image.new("RGBA", (4, 4), (9, 8, 7, 255)), kind, **options)) == (9, 8, 7)
    half = colour(encode(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), kind, **options))
    assert np.abs(np.subtract(half, (255, 127, 127))).max() <= 1


def test_grey_alpha_one_bit_and_key_colours():
    transparent = encode(Image.new("LA", (4, 4), (0, 0)))
    assert read_header(transparent).grey
    assert colour(transparent, 1) == (255,)
    assert colour(encode(Image.new("LA", (4, 4), (77, 255))), 1) == (77,)
    assert colour(encode(Image.new("1", (4, 4), 1)), 1) == (255,)
    assert colour(encode(Image.new("1", (4, 4), 0)), 1) == (0,)
    assert colour(encode(Image.new("L", (4, 4), 5), transparency=5), 1) == (255,)
    assert colour(encode(Image.new("L", (4, 4), 6), transparency=5), 1) == (6,)
    assert colour(encode(Image.new("RGB", (4, 4), RED), transparency=RED)) == WHITE


def test_16_bit_rgb_png_keeps_the_high_byte():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + struct.pack(">HHH", 0x8000, 0xFFFF, 0) * 4) * 4
    head = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert colour(content) == (0x80, 0xFF, 0)


def test_grey_from_colour_agrees_with_arrays_to_the_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    from_file = decode_image(encode(Image.fromarray(pixels)), 32, 1)
    assert np.array_equal(from_file, convert_channels(pixels, 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_once(kind, orientation):
    """One corner is marked where the camera's sensor saw it: EXIF says where it belongs."""
    sensor = Image.new("L", (32, 32), 0)
    sensor.paste(255, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = decode_image(encode(sensor, kind, exif=exif), 32, 1)[:, :, 0]
    corners = {"tl": (4, 4), "tr": (4, 27), "bl": (27, 4), "br": (27, 27)}
    bright = [name for name, place in corners.items() if shown[place] > 128]
    top_left_goes_to = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}
    assert bright == [top_left_goes_to[orientation]]


def test_exif_turns_before_the_crop():
    """A 6 is a quarter turn clockwise: the sensor's left edge is the upright image's top."""
    sensor = Image.new("L", (64, 32), 0)
    sensor.paste(255, (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode_image(encode(sensor, "PNG", exif=exif), 32, 1)[:, :, 0]
    assert (shown[:15] == 255).all()
    assert (shown[17:] == 0).all()


def test_damaged_exif_does_not_hide_the_pixels():
    content = encode(Image.new("RGB", (16, 16), WHITE), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    with quiet_pillow():
        assert colour(content, size=16) == WHITE


def test_first_frame_is_taken():
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), WHITE)]
    for kind in ("GIF", "TIFF"):
        assert colour(encode(frames[0], kind, save_all=True, append_images=frames[1:])) == RED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_truncated_files_are_refused_not_filled_with_grey(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), kind)
    for share in (0.3, 0.7):
        with pytest.raises(UnreadableImageError):
            decode_image(content[: int(len(content) * share)], 32, 3)


@pytest.mark.parametrize("sides", [(9460, 9460), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_by_their_header(sides):
    for read in (read_header, lambda content: decode_image(content, 32, 3)):
        with quiet_pillow(), pytest.raises(UnreadableImageError, match=r"89,478,485 pixels"):
            read(png_of_size(*sides))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "0 bytes"), (b"hello, I am text", "not a JPEG"), (b"P6 4 4 255\n" + bytes(48), "not a JPEG")],
)
def test_what_is_no_image_is_refused(content, said):
    with pytest.raises(UnreadableImageError, match=said):
        decode_image(content, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [8, 16])
def test_pixels_are_those_of_pillow_after_the_file_is_closed(tmp_path, kind, mode, size):
    """An image that needs no conversion is not copied."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).convert(mode).save(tmp_path / "x", kind)
    for channels in (1, 3):
        with Image.open(tmp_path / "x") as image:
            expected = image.convert("L" if channels == 1 else "RGB")
        expected = expected if size == 16 else expected.resize((8, 8), Image.Resampling.BICUBIC)
        for item in (tmp_path / "x", (tmp_path / "x").read_bytes()):
            got = decode_image(item, size, channels)
            np.testing.assert_array_equal(got, np.asarray(expected).reshape(size, size, channels))


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(24, "Too many open files"), OSError(116, "Stale file handle")]
)
def test_trouble_of_the_machine_does_not_make_an_image_unreadable(tmp_path, monkeypatch, error):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")

    def load(self):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", load)
    with pytest.raises(RunError, match="run the same command again"):
        decode_image(tmp_path / "x.png", 8, 3)


def test_of_very_large_images_one_is_decoded_at_a_time(tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from ganfeat.data import decode

    Image.new("RGB", (9, 8)).save(tmp_path / "x.png")
    now, most = [], []
    real = decode._plain

    def plain(image):
        now.append(1)
        most.append(len(now))
        time.sleep(0.02)
        now.pop()
        return real(image)

    monkeypatch.setattr(decode, "_plain", plain)
    for largest, together in ((9 * 8, True), (9 * 8 - 1, False)):
        most.clear()
        monkeypatch.setattr(decode, "_LARGE", largest)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: decode_image(tmp_path / "x.png", 8, 3), range(8)))
        assert (max(most) > 1) is together
