//! What an image says of itself (`OFS.Image.getImageInfo`).

/// The type and size that the first bytes of an image tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageInfo {
    /// The type is known, and the size where it was found.
    Known(&'static str, Option<(u32, u32)>),
    /// Nothing is known.
    Unknown,
    /// An XML drawing: Zope parses it for its size.
    Drawing,
}

/// Looks at the bytes of an image.
pub(crate) fn info(data: &[u8]) -> ImageInfo {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    if data.len() >= 10 && (data.starts_with(b"GIF87a") || data.starts_with(b"GIF89a")) {
        let side = |at: usize| u32::from(u16::from_le_bytes([data[at], data[at + 1]]));
        return ImageInfo::Known("image/gif", Some((side(6), side(8))));
    }
    if data.len() >= 16 && data.starts_with(PNG) {
        // Old files have no IHDR in front of the sizes.
        let at = if data.len() >= 24 && &data[12..16] == b"IHDR" {
            16
        } else {
            8
        };
        let side = |at: usize| {
            data.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(u32::from_be_bytes)
        };
        return ImageInfo::Known("image/png", side(at).zip(side(at + 4)));
    }
    if data.starts_with(b"\xff\xd8") {
        return ImageInfo::Known("image/jpeg", jpeg_size(data));
    }
    let start = &data[..data.len().min(16)];
    let holds = |needle: &[u8]| start.windows(needle.len()).any(|window| window == needle);
    if data.len() >= 16 && (holds(b"<?xml") || holds(b"<svg")) {
        return ImageInfo::Drawing;
    }
    ImageInfo::Unknown
}

/// Follows the segments of a JPEG to the frame that holds its size.
fn jpeg_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    let mut byte = *data.get(at)?;
    while byte != 0xda {
        while byte != 0xff {
            at += 1;
            byte = *data.get(at)?;
        }
        while byte == 0xff {
            at += 1;
            byte = *data.get(at)?;
        }
        let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
        if (0xc0..=0xc3).contains(&byte) {
            let (height, width) = (word(at + 4)?, word(at + 6)?);
            return Some((width.into(), height.into()));
        }
        at += 1 + usize::from(word(at + 1)?);
        byte = *data.get(at)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_found() {
        assert_eq!(
            info(b"GIF89a\x02\x00\x03\x00"),
            ImageInfo::Known("image/gif", Some((2, 3)))
        );
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x05\0\0\0\x07";
        assert_eq!(info(png), ImageInfo::Known("image/png", Some((5, 7))));
        let jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x09\x00\x0b";
        assert_eq!(info(jpeg), ImageInfo::Known("image/jpeg", Some((11, 9))));
    }

    #[test]
    fn cut_images_have_a_type_at_least() {
        assert_eq!(
            info(b"\xff\xd8\xff\xe0"),
            ImageInfo::Known("image/jpeg", None)
        );
        // Zope takes a PNG cut here for one of an old kind, and its first words for sizes.
        let png = info(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR");
        assert_eq!(png, ImageInfo::Known("image/png", Some((13, 0x4948_4452))));
        assert_eq!(info(b"GIF89a"), ImageInfo::Unknown);
        assert_eq!(info(b""), ImageInfo::Unknown);
        assert_eq!(info(b"<svg width='1'></svg>"), ImageInfo::Drawing);
    }
}
