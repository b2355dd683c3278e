"""The factors of a procedural face: names, owners, ranges.

Every factor is one independent uniform number in its range. A person keeps the
PERSON factors in all photographs; the PHOTOGRAPH factors are drawn anew for
each. Attributes carry their CelebA names and are 1 with a given probability:

- of the person: Male, Young, Big_Nose, Big_Lips, Bushy_Eyebrows, Bangs,
  Blond_Hair;
- of the photograph: Smiling, Eyeglasses, Mouth_Slightly_Open, Wearing_Hat,
  Rosy_Cheeks.

Hair belongs to the person because a hairdresser is rarely visited between two
photographs; a hat may hide it. Skin tone is a factor of ten named levels and no
attribute: pale against dark is what raw pixels tell best. Facial hair is a
person factor that shows on men only, so there is no attribute for it: it could
not be independent of Male. A person is never told by attributes alone: seven
bits make 128 kinds of people, the other person factors make them individuals.

Lengths are in head units: the origin is between the eyes, the chin is near
y = 1, the crown at y = -1, and the head is about 1.5 wide. Angles are radians.
"""

Table = dict[str, tuple[float, float]]

# Name -> (low, high). Geometry of the human head, then its colours.
PERSON: Table = {
  "head_width": (0.63, 0.84),
  "jaw": (-0.55, 0.85),
  "chin": (0.88, 1.12),
  "eye_spacing": (0.26, 0.38),
  "eye_y": (-0.07, 0.07),
  "eye_width": (0.135, 0.195),
  "eye_upper": (0.075, 0.125),
  "eye_lower": (0.04, 0.08),
  "eye_tilt": (-0.18, 0.18),
  "iris_size": (0.068, 0.098),
  "iris_hue": (0.0, 1.0),
  "iris_light": (0.0, 1.0),
  "brow_gap": (0.145, 0.275),
  "brow_thickness": (0.018, 0.036),
  "brow_tilt": (-0.16, 0.16),
  "brow_arch": (0.2, 2.2),
  "brow_length": (0.17, 0.25),
  "nose_length": (0.32, 0.52),
  "nose_width": (0.08, 0.115),
  "nose_bridge": (0.035, 0.075),
  "philtrum": (0.30, 0.50),
  "mouth_width": (0.2, 0.33),
  "lip_upper": (0.026, 0.056),
  "lip_lower": (0.036, 0.075),
  "lip_red": (0.0, 1.0),
  "ear_size": (0.13, 0.27),
  "ear_y": (0.02, 0.18),
  "ear_out": (-0.02, 0.09),
  "neck_width": (0.3, 0.42),
  "skin_tone": (1.0, 11.0),
  "undertone": (-1.0, 1.0),
  "freckles": (-1.2, 1.0),
  "mole_x": (-0.5, 0.5),
  "mole_y": (0.15, 0.55),
  "mole_size": (-0.05, 0.04),
  "spot_x": (-0.45, 0.45),
  "spot_y": (-0.45, -0.25),
  "spot_size": (-0.06, 0.035),
  "hair_dark": (0.0, 1.0),
  "hair_red": (0.0, 1.0),
  "hair_grey": (0.0, 1.0),
  "hair_length": (-0.3, 1.5),
  "hair_top": (0.04, 0.34),
  "hair_side": (0.01, 0.26),
  "hairline": (-0.74, -0.46),
  "hair_part": (-0.35, 0.35),
  "hair_frame": (0.52, 0.74),
  "hair_curl": (-0.5, 1.0),
  "hair_frequency": (7.0, 16.0),
  "hair_bun": (-0.6, 0.30),
  "moustache": (-0.6, 1.0),
  "beard": (-0.8, 1.0),
}

PHOTOGRAPH: Table = {
  "yaw": (-0.44, 0.44),
  "pitch": (-0.26, 0.26),
  "roll": (-0.21, 0.21),
  "scale": (0.33, 0.39),
  "shift_x": (-0.05, 0.05),
  "shift_y": (-0.03, 0.06),
  "gaze_x": (-0.045, 0.045),
  "gaze_y": (-0.02, 0.02),
  "smile": (0.0, 1.0),
  "mouth_open": (0.0, 1.0),
  "light_x": (-1.0, 1.0),
  "light_y": (-0.9, 0.3),
  "light_strength": (0.25, 0.65),
  "ambient": (0.42, 0.66),
  "cast_red": (0.9, 1.1),
  "cast_green": (0.94, 1.06),
  "cast_blue": (0.87, 1.13),
  "contrast": (0.85, 1.12),
  "blur": (0.9, 1.5),
  "noise": (0.0, 0.03),
  "noise_seed": (0.0, 65536.0),
  "back_hue": (0.0, 1.0),
  "back_hue2": (0.0, 1.0),
  "back_light": (0.1, 0.95),
  "back_light2": (0.1, 0.95),
  "back_colour": (0.05, 0.6),
  "back_angle": (-3.1416, 3.1416),
  "back_texture": (0.0, 1.0),
  "back_frequency": (2.5, 9.0),
  "back_phase": (0.0, 6.2832),
  "back_edge": (-0.45, 0.45),
  "cloth_hue": (0.0, 1.0),
  "cloth_light": (0.1, 0.9),
  "cloth_colour": (0.1, 0.9),
  "collar": (0.0, 1.0),
  "frame_width": (0.20, 0.26),
  "frame_height": (0.13, 0.21),
  "frame_thick": (0.024, 0.042),
  "frame_square": (0.0, 1.0),
  "frame_hue": (0.0, 1.0),
  "frame_light": (0.0, 0.35),
  "lens_dark": (-2.4, 0.6),
  "hat_y": (-0.52, -0.36),
  "hat_height": (0.12, 0.40),
  "hat_hue": (0.0, 1.0),
  "hat_light": (0.1, 0.9),
  "hat_brim": (-0.12, 0.22),
  "cover": (0.0, 1.0),
  "cover_y": (0.25, 0.85),
  "cover_hue": (0.0, 1.0),
  "cover_light": (0.2, 0.95),
  "bar": (0.0, 1.0),
  "bar_x": (-0.7, 0.7),
  "bar_y": (-0.6, 1.0),
  "bar_angle": (-1.6, 1.6),
  "bar_length": (0.1, 0.5),
  "bar_width": (0.06, 0.16),
  "bar_hue": (0.0, 1.0),
  "bar_light": (0.1, 0.9),
}

# Name -> probability of 1.
PERSON_ATTRIBUTES = {
  "Male": 0.5,
  "Young": 0.5,
  "Big_Nose": 0.5,
  "Big_Lips": 0.5,
  "Bushy_Eyebrows": 0.5,
  "Bangs": 0.4,
  "Blond_Hair": 0.35,
}
PHOTOGRAPH_ATTRIBUTES = {
  "Smiling": 0.5,
  "Eyeglasses": 0.4,
  "Mouth_Slightly_Open": 0.5,
  "Wearing_Hat": 0.2,
  "Rosy_Cheeks": 0.4,
}
ATTRIBUTE_NAMES = (*PERSON_ATTRIBUTES, *PHOTOGRAPH_ATTRIBUTES)

# A photograph has an object before the face with these probabilities.
COVER_PROBABILITY = 0.04
BAR_PROBABILITY = 0.08

# The Monk Skin Tone scale (E. Monk, 2019), levels 1 to 10 as sRGB.
MONK_SKIN_TONES = (
  (0xF6, 0xED, 0xE4),
  (0xF3, 0xE7, 0xDB),
  (0xF7, 0xEA, 0xD0),
  (0xEA, 0xDA, 0xBA),
  (0xD7, 0xBD, 0x96),
  (0xA0, 0x7E, 0x56),
  (0x82, 0x5C, 0x43),
  (0x60, 0x41, 0x34),
  (0x3A, 0x31, 0x2A),
  (0x29, 0x24, 0x20),
)
SKIN_TONE_NAMES = tuple(f"Monk {level}" for level in range(1, 11))

# Animals use the same head; ranges that differ by domain, by person.
ANIMALS: dict[str, Table] = {
  "cat": {
    "ear_point": (0.8, 1.0),
    "ear_drop": (0.0, 0.05),
    "ear_length": (0.42, 0.62),
    "muzzle_width": (0.24, 0.34),
    "muzzle_length": (0.14, 0.24),
    "pupil_slit": (0.75, 1.0),
    "stripes": (-0.8, 1.0),
    "mane": (0.0, 0.05),
    "fur_hue": (0.0, 1.0),
  },
  "dog": {
    "ear_point": (0.1, 0.5),
    "ear_drop": (0.75, 1.0),
    "ear_length": (0.55, 0.85),
    "muzzle_width": (0.32, 0.46),
    "muzzle_length": (0.30, 0.48),
    "pupil_slit": (0.0, 0.05),
    "stripes": (-1.0, -0.2),
    "mane": (0.0, 0.05),
    "fur_hue": (0.0, 1.0),
  },
  "wild": {
    "ear_point": (0.0, 1.0),
    "ear_drop": (0.0, 0.15),
    "ear_length": (0.30, 0.48),
    "muzzle_width": (0.30, 0.42),
    "muzzle_length": (0.24, 0.36),
    "pupil_slit": (0.0, 0.3),
    "stripes": (-0.2, 1.0),
    "mane": (-0.3, 0.38),
    "fur_hue": (0.3, 1.0),
  },
}
ANIMAL_SHARED: Table = {
  "fur_light": (0.05, 1.0),
  "patch": (-1.0, 1.0),
  "blaze": (-0.6, 1.0),
  "muzzle_light": (0.0, 1.0),
  "nose_dark": (0.0, 1.0),
  "ear_spread": (0.38, 0.58),
  "stripe_frequency": (9.0, 18.0),
  "stripe_phase": (0.0, 6.2832),
}
