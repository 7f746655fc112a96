"""The codes of coupons: written, read and signed. Pure; docs/coupons.md explains the choices.

A coupon has two spellings. The *signed code* (120 characters, for a scanner) carries an Ed25519
signature (RFC 8032), so that anybody with the public key can check it without a network. The *short
code* (20 characters, for people) carries a keyed digest that only the service can check. Both name
the same coupon, so the use of one is the use of the other.

Both are written in Crockford's base32: digits and capitals without I, L, O and U, all of them in
the alphanumeric mode of QR codes. Their last character is a check: it finds every single wrong
character and every swap of two neighbours, so a slip of the hand is told from a forgery.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
from datetime import date

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from loyalty.coupons.model import Coupon, CouponForgedError, CouponMistypedError
from loyalty.kit.errors import FieldError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SIGNED_LENGTH = 120
SHORT_LENGTH = 20
# What comes in may be grouped by spaces or hyphens, whoever groups it.
TEXT_MAX = 200
VERSION = 1
# Version, key id, campaign (3 bytes), serial, last day since 1970.
_HEAD = struct.Struct(">BB3sIH")
_EPOCH = date(1970, 1, 1)
_STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TO_OURS = bytes.maketrans(_STANDARD.encode(), ALPHABET.encode())
_TO_STANDARD = str.maketrans(ALPHABET, _STANDARD)
# Read as what was meant: the look-alikes that the alphabet leaves out.
_LOOK_ALIKES = str.maketrans("OIL", "011", " -")
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
_SHORT = re.compile(f"[{ALPHABET}]{{{SHORT_LENGTH}}}\\Z")
_SIGNED = re.compile(f"[{ALPHABET}]{{{SIGNED_LENGTH}}}\\Z")
_SERIAL_BITS = 30
# 20 characters less campaign (20 bits), serial (30) and check (5). One guess in 35 million million.
_DIGEST_BITS = 45


class CouponMint:
    """Writes and reads codes under the shop's keys.

    Args:
        seed: 32 bytes, the seed of the Ed25519 key.
        short_key: 32 bytes, the key of the short codes' digests.
    """

    def __init__(self, *, seed: bytes, short_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key()
        self._short_key = short_key
        self.public_key = self._public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public_key_pem = self._public.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).decode()
        self.key_id = hashlib.sha256(self.public_key).digest()[0]

    def signed(self, coupon: Coupon, *, last_day: date) -> str:
        """The signed code: the same for the same coupon, for Ed25519 has no randomness."""
        number = coupon.campaign.to_bytes(3, "big")
        days = (last_day - _EPOCH).days
        head = _HEAD.pack(VERSION, self.key_id, number, coupon.serial, days)
        # 75 bytes are 120 characters, of which the first is always 0: the check takes its place.
        text = base64.b32encode(head + self._key.sign(head)).translate(_TO_OURS).decode()[1:]
        return text + _check(text)

    def short(self, coupon: Coupon) -> str:
        """The short code, in four groups of five."""
        value = (coupon.campaign << _SERIAL_BITS | coupon.serial) << _DIGEST_BITS
        value |= self._digest(coupon)
        places = range((SHORT_LENGTH - 2) * 5, -1, -5)
        text = "".join(ALPHABET[value >> place & 31] for place in places)
        text += _check(text)
        return "-".join(text[begin : begin + 5] for begin in range(0, SHORT_LENGTH, 5))

    def read(self, text: str) -> Coupon:
        """The coupon that a code names, in either spelling, any case and any grouping.

        Raises:
            CouponMistypedError: it cannot be a code as it stands.
            CouponForgedError: it can, and the shop did not make it.
        """
        plain = text.upper().translate(_LOOK_ALIKES)
        is_short = _SHORT.match(plain) is not None
        if not is_short and not _SIGNED.match(plain):
            raise _mistyped()
        if _check(plain[:-1]) != plain[-1]:
            raise _mistyped()
        return self._read_short(plain[:-1]) if is_short else self._read_signed(plain[:-1])

    def _read_signed(self, text: str) -> Coupon:
        raw = base64.b32decode("A" + text.translate(_TO_STANDARD))
        head, signature = raw[: _HEAD.size], raw[_HEAD.size :]
        version, _, campaign, serial, _ = _HEAD.unpack(head)
        try:
            self._public.verify(signature, head)
        except InvalidSignature as error:
            raise _forged() from error
        if version != VERSION:
            raise _forged()
        return Coupon(int.from_bytes(campaign, "big"), serial)

    def _read_short(self, text: str) -> Coupon:
        value = 0
        for character in text:
            value = value << 5 | _VALUES[character]
        named = value >> _DIGEST_BITS
        coupon = Coupon(named >> _SERIAL_BITS, named & (1 << _SERIAL_BITS) - 1)
        given = (value & (1 << _DIGEST_BITS) - 1).to_bytes(8, "big")
        if not hmac.compare_digest(given, self._digest(coupon).to_bytes(8, "big")):
            raise _forged()
        return coupon

    def _digest(self, coupon: Coupon) -> int:
        message = coupon.campaign.to_bytes(3, "big") + coupon.serial.to_bytes(4, "big")
        digest = hmac.digest(self._short_key, message, "sha256")
        return int.from_bytes(digest[:8], "big") >> 64 - _DIGEST_BITS


def _check(text: str) -> str:
    """The check character: Horner's rule in the field of 32 elements (x^5 = x^2 + 1)."""
    total = 0
    for character in text:
        total ^= _VALUES[character]
        total = total << 1 ^ (0b100101 if total & 16 else 0)
    return ALPHABET[total]


def _mistyped() -> CouponMistypedError:
    mistake = FieldError("code", "Is not a code as it stands: look for a wrong character.")
    return CouponMistypedError(mistake.message, errors=(mistake,))


def _forged() -> CouponForgedError:
    mistake = FieldError("code", "Was not made by this shop.")
    return CouponForgedError(mistake.message, errors=(mistake,))
